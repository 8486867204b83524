import keras
import pytest
from keras import layers, ops

from cryotwin.models.architectures import ARCHITECTURES
from cryotwin.models.cost import describe_architectures, images_per_second, multiply_adds
from cryotwin.models.heads import find_head
from cryotwin.models.siamese import build, build_extractor


@pytest.fixture(scope="module")
def architectures():
    return {entry["name"]: entry for entry in describe_architectures()}


@pytest.mark.parametrize("size", [45, 64, 116])
def test_the_work_of_the_paper_s_network_is_that_of_its_seven_convolutions(size):
    filters, kernels = (1, 32, 64, 128, 256, 256, 512, 24), (7, 5, 3, 3, 3, 3, 3)
    expected, edge = 0, size
    for kernel, before, after in zip(kernels, filters, filters[1:], strict=False):
        expected += edge**2 * kernel**2 * before * after
        edge = -(-edge // 2)

    extractor = build_extractor("banjac2021", head=find_head("cosine"), feature_dim=24)

    assert multiply_adds(extractor, size) == expected


def test_an_estimator_works_twice_as_much_as_its_extractor():
    model = build("resnet_small", feature_dim=24)

    assert multiply_adds(model, 32) == 2 * multiply_adds(model.get_layer("extractor"), 32)


def test_each_kind_of_product_is_counted():
    images = keras.Input((None, None, 1))
    x = layers.Conv2D(6, 3, padding="same")(images)  # 8 x 8 x 9 x 6
    x = layers.DepthwiseConv2D(3, padding="same")(x)  # 8 x 8 x 9 x 6
    x = ops.depthwise_conv(x, ops.ones((5, 5, 6, 1)), strides=2, padding="same")  # 4 x 4 x 25 x 6
    x = layers.Dense(5)(x)  # 4 x 4 x 6 x 5
    x = layers.GlobalAveragePooling2D()(x)
    x = ops.matmul(x, ops.ones((5, 7)))  # 5 x 7
    x = layers.EinsumDense("ba,ac->bc", output_shape=3)(x)  # 7 x 3
    x = ops.einsum("ba,ac->bc", x, ops.ones((3, 2)))  # 3 x 2
    model = keras.Model(images, ops.relu(x))

    assert multiply_adds(model, 8) == 2 * 64 * 54 + 16 * 150 + 16 * 30 + 35 + 21 + 6


def test_all_architectures_are_described(architectures):
    assert list(architectures) == list(ARCHITECTURES)
    assert all(
        entry["summary"] and "\n" not in entry["summary"] for entry in architectures.values()
    )
    assert architectures["banjac2021"]["parameters"] == 4_551_936
    assert architectures["banjac2021"]["mflops_at_64_px"] == pytest.approx(226.2)


def test_the_base_network_works_four_times_as_much_as_the_small_one_and_fits_in_8_mb(architectures):
    small, base = architectures["resnet_small"], architectures["resnet_base"]

    assert 3.5 < base["mflops_at_64_px"] / small["mflops_at_64_px"] < 4.5
    assert 4 * base["parameters"] < 8e6


def test_the_speed_of_a_network_is_measured():
    images = keras.Input((None, None, 1))
    cheap = keras.Model(images, layers.GlobalAveragePooling2D()(images))

    assert images_per_second(cheap, 16, batch_size=8, seconds=0.05) > 8
