# SPDX-License-Identifier: MPL-2.0
#
# One image with the three programs; docker-compose.yml says which runs where. Needs no BuildKit.

FROM debian:bookworm-slim AS build
WORKDIR /src
COPY tools/deps tools/deps
RUN tools/deps build && rm -rf /var/lib/apt/lists/*
COPY . .
RUN cmake --preset release -DSTINT_TESTS=OFF \
    && cmake --build --preset release \
    && DESTDIR=/out cmake --install build/release --prefix /usr --strip

FROM debian:bookworm-slim
COPY tools/deps /usr/share/stint/deps
RUN /usr/share/stint/deps runtime \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 587 --user-group --home-dir /var/lib/stint --shell /usr/sbin/nologin stint \
    && install -d -o stint -g stint -m 0700 /var/lib/stint /run/stint
COPY --from=build /out/ /
COPY tools/demo-batch tools/demo-words /usr/share/stint/

USER stint
WORKDIR /var/lib/stint
EXPOSE 5870
HEALTHCHECK --interval=5s --timeout=5s --start-period=10s --retries=5 CMD ["stint", "ping", "--wait", "2s"]
CMD ["stint-broker"]
