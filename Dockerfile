# The images of edge-sync and global-dns: one static binary each, no shell, no root.
#   docker build --target edge-sync  -t seamark/edge-sync  .
#   docker build --target global-dns -t seamark/global-dns .
# They are configured by /etc/seamark/*.yaml (name it in SEAMARK_CONFIG) or by SEAMARK_* variables alone. Prefer both to
# flags: the health check sees the environment, not the flags of the container's command.

ARG GO_IMAGE=golang:1.26.8-bookworm

FROM ${GO_IMAGE} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=devel
RUN CGO_ENABLED=0 go build -trimpath \
    -ldflags "-s -w -X github.com/seamark-mesh/seamark/cmd/internal/proc.linked=${VERSION}" \
    -o /out/ ./cmd/edge-sync ./cmd/global-dns

FROM scratch AS runtime
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
USER 65532:65532

FROM runtime AS edge-sync
COPY --from=build /out/edge-sync /edge-sync
EXPOSE 8081
# Alive, not ready: an agent that waits for its registry or for NATS must not be replaced for it.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s CMD ["/edge-sync", "health"]
ENTRYPOINT ["/edge-sync"]

FROM runtime AS global-dns
COPY --from=build /out/global-dns /global-dns
EXPOSE 53/udp 53/tcp 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s CMD ["/global-dns", "health"]
ENTRYPOINT ["/global-dns"]
