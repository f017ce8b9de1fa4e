# syntax=docker/dockerfile:1
# Training on NVIDIA GPUs, with Unsloth. torch brings its own CUDA 13.0, so that the host needs a driver (580 or newer)
# and the NVIDIA container toolkit, and the image no CUDA of its own.
#   docker build -t finetune .
#   docker run --rm --gpus all -v "$PWD:/work" finetune recipes/mine.yaml
FROM python:3.12-slim-bookworm AS wheel
WORKDIR /source
COPY . .
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m pip wheel --no-deps --wheel-dir /wheel .

FROM python:3.12-slim-bookworm
# What the figures of docs/gpu.md were measured with, which Unsloth allows; PyPI has it with CUDA 13.0.
ARG TORCH=2.11.0
ARG EXTRAS=unsloth,eval,export,optimizers,serve,sweep,tracking
# Triton compiles what it launches kernels with; git is there for pip and for the commit that a run notes.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc git libc6-dev \
    && rm -rf /var/lib/apt/lists/*
# Libraries before the package: changed code leaves these gigabytes as they are.
COPY constraints.txt /opt/finetune/tested.txt
RUN --mount=type=cache,target=/root/.cache/pip \
    sed "s/^torch==.*/torch==${TORCH}/" /opt/finetune/tested.txt > /opt/finetune/constraints.txt \
    && python -m pip install -c /opt/finetune/constraints.txt torch
ENV PIP_CONSTRAINT=/opt/finetune/constraints.txt
RUN --mount=type=cache,target=/root/.cache/pip --mount=type=bind,from=wheel,source=/wheel,target=/wheel \
    python -m pip install "finetune-recipes[${EXTRAS}] @ file://$(ls /wheel/*.whl)" \
    && python -m pip check
# Files that a run writes belong to whom the folder belongs to: build with --build-arg USER_ID="$(id -u)".
ARG USER_ID=1000
RUN useradd --create-home --uid "${USER_ID}" finetune \
    && install --directory --owner finetune /work /home/finetune/.cache
ENV HF_HOME=/home/finetune/.cache/huggingface \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    NVIDIA_VISIBLE_DEVICES=all \
    PYTHONUNBUFFERED=1
USER ${USER_ID}
WORKDIR /work
VOLUME /home/finetune/.cache
ENTRYPOINT ["python", "-m", "finetune"]
CMD ["--help"]
