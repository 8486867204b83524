import keras
import pytest

from cryotwin.imaging.errors import InputError
from cryotwin.models.heads import HEADS, find_head
from cryotwin.models.siamese import build, build_extractor, head_of


@pytest.mark.parametrize("symmetry", ["C1", "C3", "D2", "I2"])
@pytest.mark.parametrize("head", HEADS)
def test_the_head_can_be_told_from_a_model(head, symmetry):
    model = build("resnet_small", head=head, feature_dim=8, symmetry=symmetry)

    assert (head_of(model).name, head_of(model).symmetry) == (head, symmetry)
    assert model.get_layer("extractor").output.shape == (None, 8)


def test_a_model_that_is_no_estimator_is_named():
    stranger = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)], name="stranger")

    with pytest.raises(InputError, match="'stranger' is not an estimator"):
        head_of(stranger)


def test_what_cannot_be_built_is_named():
    with pytest.raises(InputError, match="resnet_small.*not 'resnet_smal'"):
        build("resnet_smal")
    with pytest.raises(InputError, match="not 'resnet_smal'"):
        build_extractor("resnet_smal", head=find_head("so3"), feature_dim=4)
    with pytest.raises(InputError, match="not 'sine'"):
        build("resnet_small", head="sine")
    with pytest.raises(InputError, match="at least 1, not 0"):
        build("resnet_small", feature_dim=0)
    with pytest.raises(InputError, match="at least 5 .*not 4"):
        build("resnet_small", feature_dim=4, symmetry="D2")
