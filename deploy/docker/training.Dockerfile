# The `unroll` command with everything training needs. Mount data at /unroll/data, bundles at /unroll/models and runs at
# /unroll/runs. Build it from the root of the repository:
#   docker build -f deploy/docker/training.Dockerfile .
# torch is in no lock file, because its CPU and CUDA builds have the same version but different hashes. TORCH is the
# requirement for pip, TORCH_ARGS its options, for example the index of another build.
ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv --without-pip /opt/unroll
COPY deploy/locks/service-cpu.txt deploy/locks/training.txt /src/
RUN pip --python /opt/unroll install --require-hashes -r /src/service-cpu.txt \
    && pip --python /opt/unroll install --require-hashes -r /src/training.txt
ARG TORCH=torch==2.13.0
ARG TORCH_ARGS=
RUN pip --python /opt/unroll install ${TORCH_ARGS} "${TORCH}"
COPY LICENSE README.md pyproject.toml /src/
COPY service /src/service
COPY training /src/training
RUN pip --python /opt/unroll install --no-deps --no-build-isolation /src

FROM python:${PYTHON}-slim
COPY deploy/docker/trim.py /src/
RUN useradd --system --uid 10001 --user-group --no-create-home unroll \
    && python /src/trim.py harden / \
    && rm -r /src \
    && mkdir -p /unroll/data /unroll/models /unroll/runs \
    && chown unroll:unroll /unroll/models /unroll/runs
COPY --from=build /opt/unroll /opt/unroll
ARG VERSION=0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Unroll training" \
      org.opencontainers.image.description="Trains recurrent sequence models and exports them to bundles" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# Caches of libraries go to the only folder that is writable with a read-only root file system.
ENV PATH=/opt/unroll/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 ORT_DISABLE_TELEMETRY=1 \
    HOME=/tmp UNROLL_DATA_DIR=/unroll/data
USER 10001:10001
WORKDIR /unroll
VOLUME ["/unroll/data", "/unroll/models", "/unroll/runs"]
# On SIGTERM a run is saved; `unroll resume` continues it.
STOPSIGNAL SIGTERM
# A command, not a server.
HEALTHCHECK NONE
ENTRYPOINT ["unroll"]
CMD ["train", "--help"]
