# The worker's image: one binary on distroless, without a shell. Schemas and topics are compiled in, so
# nothing but settings comes from outside.

FROM rust:1.95.0-bookworm AS build
# librdkafka is built with configure and make, aws-lc with cmake.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends build-essential cmake \
    && rm -rf /var/lib/apt/lists/*
# Without the components that only people need.
ENV RUSTUP_TOOLCHAIN=1.95.0
WORKDIR /build

# Dependencies alone, so that a change of the sources does not build them again.
COPY .cargo .cargo
COPY Cargo.toml Cargo.lock rust-toolchain.toml ./
COPY dev/Cargo.toml dev/Cargo.toml
RUN mkdir -p src dev/src \
    && echo 'fn main() {}' | tee src/main.rs > dev/src/main.rs \
    && touch src/lib.rs dev/src/lib.rs \
    && cargo build --release --locked --package session-worker

COPY . .
# Newer than what was built of the empty sources.
RUN touch src/main.rs src/lib.rs \
    && cargo build --release --locked --package session-worker --bin session-worker

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /build/target/release/session-worker /usr/local/bin/session-worker
USER nonroot:nonroot
# Probes must be reachable from outside the container; they take no token. Set http.auth.mode, too.
EXPOSE 8080
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/session-worker"]
CMD ["run"]
