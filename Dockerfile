# A container for Beam workers: Beam's harness (/opt/apache/beam/boot, the entry point that the base
# image sets) and cryotwin. How it is used: docs/clusters.md. The version of the base image is that of
# apache-beam in constraints.txt, as driver and workers must have the same.
FROM apache/beam_python3.12_sdk:2.77.0

WORKDIR /opt/cryotwin
COPY pyproject.toml README.md LICENSE constraints.txt ./
COPY imaging ./imaging
COPY datasets ./datasets
COPY models ./models
COPY recovery ./recovery
COPY pipelines ./pipelines
RUN pip install --no-cache-dir -c constraints.txt .

# One thread a worker: the runner decides how many workers share a machine.
ENV OMP_NUM_THREADS=1
