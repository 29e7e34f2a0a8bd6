# The service with one runtime (RUNTIME is cpu, gpu or openvino), without torch and without bundles: mount those at /models.
# Build from the top of the repository: docker build -f deploy/docker/service.Dockerfile .
FROM python:3.12-slim AS build
ARG RUNTIME=cpu
RUN python -m venv /opt/unroll
COPY deploy/locks/service-${RUNTIME}.txt /src/lock.txt
RUN /opt/unroll/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r /src/lock.txt
COPY LICENSE README.md pyproject.toml /src/
COPY service /src/service
RUN /opt/unroll/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation /src

FROM python:3.12-slim
RUN useradd --system --uid 10001 --no-create-home unroll
COPY --from=build /opt/unroll /opt/unroll
ENV PATH=/opt/unroll/bin:$PATH PYTHONUNBUFFERED=1 ORT_DISABLE_TELEMETRY=1 UNROLL_MODELS_DIR=/models UNROLL_HOST=0.0.0.0 UNROLL_PORT=8000
USER unroll
WORKDIR /tmp
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health/ready', timeout=2)"]
CMD ["unroll", "serve"]
