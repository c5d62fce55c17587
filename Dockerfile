# Two images:
#
#   docker build --target manager --tag drawbridge-manager:0.1.0 --build-arg VERSION=0.1.0 .
#   docker build --target proxy   --tag drawbridge-proxy:0.1.0   --build-arg VERSION=0.1.0 .

FROM --platform=$BUILDPLATFORM golang:1.26-bookworm AS build
ARG TARGETOS
ARG TARGETARCH
ARG VERSION=unknown
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY cmd cmd
COPY policy policy
COPY render render
COPY webhook webhook
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$VERSION" -o /drawbridge ./cmd/drawbridge

# The static binary alone: the manager starts no process, so there is none to start.
FROM scratch AS manager
COPY --from=build /drawbridge /drawbridge
USER 65532:65532
EXPOSE 9443 9090 9091
ENTRYPOINT ["/drawbridge"]
CMD ["manager"]

# HAProxy and the agent; the chart runs the two as a container each.
FROM debian:bookworm-slim AS proxy
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates haproxy \
    && rm -rf /var/lib/apt/lists/* /var/log/apt /var/log/dpkg.log
COPY --from=build /drawbridge /usr/local/bin/drawbridge
USER 65532:65532
EXPOSE 8080 8443 9100 9101
ENTRYPOINT ["/usr/local/bin/drawbridge"]
CMD ["proxy"]
