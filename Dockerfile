# Turnpike with the paths of the reference image: the same `docker run` lines work, only the image name differs.
#
#   docker build -t turnpike --build-arg REVISION="$(git rev-parse --short HEAD)" .
#
# Either stage can be taken from elsewhere: --build-arg RUST_IMAGE=…, --build-arg RUNTIME_IMAGE=debian:bookworm-slim.
# The runtime must have the glibc of Debian 12 or later; nothing is run in it while the image is built.
ARG RUST_IMAGE=docker.io/library/rust:1-slim-bookworm
ARG RUNTIME_IMAGE=gcr.io/distroless/cc-debian12

FROM ${RUST_IMAGE} AS build
ARG REVISION=unknown
WORKDIR /src
COPY . .
# The toolchain of the image, not the one that rust-toolchain.toml would download.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,sharing=locked \
    if [ -n "${RUST_VERSION:-}" ]; then export RUSTUP_TOOLCHAIN="$RUST_VERSION"; fi \
    && TURNPIKE_REVISION="$REVISION" cargo build --release --locked --bin turnpike \
    && install -D -m 0755 target/release/turnpike /out/usr/local/bin/turnpike
# Any user of group 0 may write here, so that the image runs under a random user id (OpenShift).
RUN mkdir -p /out/opt/graviteeio-gateway && cd /out/opt/graviteeio-gateway \
    && mkdir config license logs metrics && chmod 0775 . config license logs metrics

FROM ${RUNTIME_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="turnpike" \
      org.opencontainers.image.description="An API gateway on io_uring that takes the place of the self-hosted hybrid Gravitee APIM gateway" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build --chown=1001:0 /out/opt/ /opt/
COPY --from=build /out/usr/local/bin/turnpike /usr/local/bin/turnpike
ENV GRAVITEE_HOME=/opt/graviteeio-gateway
WORKDIR /opt/graviteeio-gateway
# 8082 for API traffic; 18082 for the node API, which listens on localhost until services.core.http.host says otherwise.
EXPOSE 8082 18082
USER 1001:0
# No HEALTHCHECK: there is no shell or HTTP client in the image, and orchestrators probe the node API (docs/operations.md).
ENTRYPOINT ["/usr/local/bin/turnpike"]
CMD ["run"]
