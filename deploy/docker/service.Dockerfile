# The service with one build of onnxruntime (RUNTIME is cpu, gpu or openvino), without torch and bundles: mount bundles
# at /models. Build it from the root of the repository:
#   docker build -f deploy/docker/service.Dockerfile .
#   docker build -f deploy/docker/service.Dockerfile --build-arg RUNTIME=gpu .
ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS build
ARG RUNTIME=cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv --without-pip /opt/unroll
COPY deploy/locks/service-${RUNTIME}.txt /src/lock.txt
RUN pip --python /opt/unroll install --no-compile --require-hashes -r /src/lock.txt
COPY LICENSE README.md pyproject.toml /src/
COPY service /src/service
RUN pip --python /opt/unroll install --no-compile --no-deps --no-build-isolation /src
COPY deploy/docker/trim.py /src/
# Symbols in libraries are for debuggers, and as large as gRPC is. Libraries that were moved by `patchelf`, as those of
# numpy were, must not be stripped.
RUN apt-get update -q && apt-get install -qy --no-install-recommends binutils \
    && cd /opt/unroll/lib/python3*/site-packages \
    && strip --strip-unneeded uvloop/loop.*.so tokenizers/tokenizers.abi3.so httptools/parser/*.so \
        cryptography/hazmat/bindings/_rust.abi3.so _soundfile_data/libsndfile*.so
# The root file system is read-only at run time: files that are not compiled now would be compiled at every start, the
# standard library included, which the base image does not compile.
RUN python /src/trim.py environment /opt/unroll \
    && /opt/unroll/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/unroll/lib

# The base image without pip and other build tools. Files deleted in a layer still take space in the layers below, hence
# the copy into an empty image.
FROM python:${PYTHON}-slim AS base
COPY deploy/docker/trim.py /src/
RUN python /src/trim.py base / \
    && python -m compileall -q --invalidation-mode unchecked-hash /usr/local/lib \
    && useradd --system --uid 10001 --user-group --no-create-home unroll \
    && rm -r /src

FROM scratch
COPY --from=base / /
COPY --from=build /opt/unroll /opt/unroll
COPY --chmod=555 deploy/docker/healthcheck.py /opt/unroll/healthcheck.py
ARG VERSION=0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Unroll" \
      org.opencontainers.image.description="Answers requests for recurrent sequence models over HTTP" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
ENV PATH=/opt/unroll/bin:/usr/local/bin:/usr/bin:/bin LANG=C.UTF-8 PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    ORT_DISABLE_TELEMETRY=1 UNROLL_MODELS_DIR=/models UNROLL_HOST=0.0.0.0 UNROLL_PORT=8000
USER 10001:10001
WORKDIR /opt/unroll
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --start-interval=1s --retries=3 \
    CMD ["python", "-ISB", "/opt/unroll/healthcheck.py"]
ENTRYPOINT ["unroll"]
CMD ["serve"]
