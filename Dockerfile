# syntax=docker/dockerfile:1
ARG RUST_IMAGE=docker.io/library/rust:1-bookworm
ARG BASE_IMAGE=docker.io/library/debian:bookworm-slim

FROM ${RUST_IMAGE} AS build
WORKDIR /src
# The compiler is the one that rust-toolchain.toml pins; it is fetched if the image has another.
COPY rust-toolchain.toml Cargo.toml Cargo.lock ./
# Cargo wants to see every target that Cargo.toml names, built or not.
COPY benches ./benches
COPY src ./src
COPY web ./web
# Dependencies and what was built of them stay in the caches from one build to the next.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin fanlight \
    && install -D target/release/fanlight /out/fanlight \
    && install -d /out/data

FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="Fanlight" \
      org.opencontainers.image.description="A selective forwarding media server for WebRTC" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
COPY --from=build /out/fanlight /usr/local/bin/fanlight
# The folder is there with its owner, so that a new volume takes the owner from it.
COPY --from=build --chown=10001:10001 /out/data /data
USER 10001:10001
ENV FANLIGHT_DATA_DIR=/data
VOLUME /data
EXPOSE 8443/tcp 8443/udp
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["/usr/local/bin/fanlight", "health"]
ENTRYPOINT ["/usr/local/bin/fanlight"]
