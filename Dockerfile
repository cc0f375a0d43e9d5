# The worker's image: one binary on distroless, without a shell. Schemas and topics are compiled in, so
# nothing but settings comes from outside.
#
#   docker build --tag session-worker --build-arg REVISION="$(git rev-parse HEAD)" .
#
# Base images are pinned by tag; whoever can reach their registries pins them by digest. `deploy/dry-build`
# runs these very steps where there is no engine.

ARG RUST_VERSION=1.95.0

FROM rust:${RUST_VERSION}-trixie AS build
ARG RUST_VERSION
# The toolchain of the image, not rust-toolchain.toml's with the components that only people need.
ENV RUSTUP_TOOLCHAIN=${RUST_VERSION}
# What a compiler dates, it dates alike: the same sources make the same binary.
ENV SOURCE_DATE_EPOCH=0
# The base image's OpenSSL: its security fixes come with the base image, without a build of our own.
ENV OPENSSL_NO_VENDOR=1
# librdkafka and aws-lc are built with cmake. The newest of each will do.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends build-essential cmake libssl-dev pkg-config \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build

# Dependencies alone, of empty sources: this layer is made anew only when a manifest changes.
COPY .cargo .cargo
COPY Cargo.toml Cargo.lock rust-toolchain.toml ./
COPY dev/Cargo.toml dev/Cargo.toml
RUN mkdir -p src dev/src \
    && echo 'fn main() {}' > src/main.rs \
    && touch src/lib.rs dev/src/lib.rs \
    && cargo build --release --locked --package session-worker

COPY schemas schemas
COPY src src
COPY topics.yaml topics.yaml
# Newer than what was built of the empty sources. Line tables stay in, for backtraces; packed, they halve the binary.
RUN touch src/main.rs src/lib.rs \
    && cargo build --release --locked --package session-worker --bin session-worker \
    && objcopy --compress-debug-sections=zlib target/release/session-worker

FROM gcr.io/distroless/cc-debian13:nonroot
ARG REVISION=unknown
LABEL org.opencontainers.image.title="session-worker" \
      org.opencontainers.image.description="The headless worker that owns live conversation sessions: Kafka in, MongoDB as the truth, Kafka out." \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.base.name="gcr.io/distroless/cc-debian13:nonroot"
COPY LICENSE-APACHE LICENSE-MIT /usr/share/doc/session-worker/
COPY --from=build /build/target/release/session-worker /usr/local/bin/session-worker
# `nonroot`, as a number: Kubernetes' runAsNonRoot cannot judge a name. Nothing is ever written to disk.
USER 65532:65532
# For probes, metrics and reads. The default listens on the loopback only: set http.listen and http.auth.mode.
EXPOSE 8080
# Liveness: engines that act on this end the container. Readiness is `probe --ready`.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["/usr/local/bin/session-worker", "probe", "--live"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/session-worker"]
CMD ["run"]
