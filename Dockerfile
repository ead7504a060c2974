# The daemon as an image. docker build -t bucketwatch .
# Nothing of it runs as root or writes outside /var/lib/bucketwatch, so the root file system may be read-only.

# The program needs one Python in both stages: its environment moves from the one to the other.
ARG PYTHON=python:3.13.7-slim-bookworm

FROM ${PYTHON} AS build
# The compiler and C headers of this base, whichever patch they are at: they build the kernel and are left behind.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
RUN pip install --no-cache-dir uv==0.13.8
ENV UV_PROJECT_ENVIRONMENT=/opt/bucketwatch UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never
WORKDIR /src
COPY pyproject.toml uv.lock ./
# What uv.lock says, with its hashes: a layer of its own, built anew only when the lock changes.
RUN uv sync --locked --no-dev --no-install-project --python python3
COPY hatch_build.py README.md LICENSE ./
COPY detector detector
COPY replay replay
COPY rules rules
# With the kernel, or not at all.
RUN BUCKETWATCH_KERNEL=yes uv build --wheel --python python3 --out-dir /dist && \
  uv pip install --no-deps --python /opt/bucketwatch/bin/python /dist/*.whl

FROM ${PYTHON}
COPY --from=build /opt/bucketwatch /opt/bucketwatch
COPY deploy/bucketwatch.yaml /etc/bucketwatch/bucketwatch.yaml
RUN install -d -o 10001 -g 10001 -m 0700 /var/lib/bucketwatch
ENV PATH=/opt/bucketwatch/bin:$PATH HOME=/var/lib/bucketwatch TMPDIR=/var/lib/bucketwatch PYTHONDONTWRITEBYTECODE=1
# Also tells ECS who owns the volume that is mounted here.
VOLUME ["/var/lib/bucketwatch"]
WORKDIR /var/lib/bucketwatch
USER 10001:10001
HEALTHCHECK --interval=30s --timeout=10s --start-period=120s --retries=3 \
  CMD ["bucketwatch", "healthcheck", "--config", "/etc/bucketwatch/bucketwatch.yaml"]
STOPSIGNAL SIGTERM
# No shell in between: this is a Python script, so Python is process 1 and gets SIGTERM.
ENTRYPOINT ["bucketwatch"]
CMD ["watch", "--config", "/etc/bucketwatch/bucketwatch.yaml"]
