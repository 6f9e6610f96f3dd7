# kspike for inference, without TensorFlow, as a user without rights, with compiled kernels:
#
#   docker build -t kspike .
#   docker run --rm --read-only --user "$(id -u):$(id -g)" -v "$PWD:/data" kspike \
#     run model.keras x.npy -o y.npy

FROM python:3.13-slim AS build
WORKDIR /src
COPY VERSION ./
COPY packages/kspike-energy packages/kspike-energy
COPY packages/kspike-ref packages/kspike-ref
RUN python -m venv /opt/kspike \
    && /opt/kspike/bin/pip install --no-cache-dir packages/kspike-energy "packages/kspike-ref[cli]"

# Kernels are compiled for the processor that builds the image; on another kind, every process
# compiles them. To run on several kinds, name the least of them here and below, as in
# ENV NUMBA_CPU_NAME=x86-64-v3 NUMBA_CPU_FEATURES=""
ENV NUMBA_CACHE_DIR=/opt/kspike/cache
RUN mkdir -m 755 /opt/kspike/cache && /opt/kspike/bin/kspike warm-up

FROM python:3.13-slim
COPY --from=build /opt/kspike /opt/kspike
ENV PATH=/opt/kspike/bin:$PATH NUMBA_CACHE_DIR=/opt/kspike/cache
WORKDIR /data
USER 10001:10001
ENTRYPOINT ["kspike"]
CMD ["--help"]
