#!/usr/bin/env bash
# A local Apache Kafka from its Maven jars: one broker, KRaft, Java 17, for trying things out.
#
#   kafka.sh start [TOPIC[:PARTITIONS] ...]   fetch the jars once, start, make the topics
#   kafka.sh stop                             stop it; the data stay
#   kafka.sh wipe                             stop it and forget its data
#   kafka.sh topic TOPIC[:PARTITIONS] ...     make topics that do not exist yet
#
# Environment: KAFKA_PORT (9092; the controller takes the next one), KAFKA_HOME (.kafka beside the
# Makefile; everything lies in it), KAFKA_JARS (KAFKA_HOME/jars), KAFKA_HEAP (512m), KAFKA_EXTRA
# (a file of broker properties that are added to ours and win over them; {port} and {controller} in
# it are our ports), KAFKA_FORMAT (options for the first formatting, as `--add-scram ...`).
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
port=${KAFKA_PORT:-9092}
home=${KAFKA_HOME:-$here/../../.kafka}
mkdir -p "$home"
home=$(cd "$home" && pwd)
jars=${KAFKA_JARS:-$home/jars}
heap=${KAFKA_HEAP:-512m}
extra=${KAFKA_EXTRA:-}
pid_file=$home/broker.pid
log=$home/broker.log

fail() { echo "kafka.sh: $*" >&2; exit 1; }

need() { command -v "$1" >/dev/null || fail "$1 was not found; $2"; }

is_running() { [[ -s $pid_file ]] && kill -0 "$(cat "$pid_file")" 2>/dev/null; }

fetch() {
    [[ -e $jars/.complete-$(cksum <"$here/pom.xml" | cut -d' ' -f1) ]] && return
    need mvn "Maven fetches the jars (Debian: apt install maven)"
    echo "fetching Apache Kafka's jars into $jars" >&2
    mvn -q -B -f "$here/pom.xml" dependency:copy-dependencies \
        -DincludeScope=runtime -DoutputDirectory="$jars" >"$home/maven.log" 2>&1 \
        || fail "Maven could not fetch the jars; see $home/maven.log"
    touch "$jars/.complete-$(cksum <"$here/pom.xml" | cut -d' ' -f1)"
}

write_properties() {
    cat >"$home/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$((port + 1))
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$((port + 1))
advertised.listeners=PLAINTEXT://127.0.0.1:$port
log.dirs=$home/data
# Topics are made on purpose here, so that a wrong name is an error and no empty topic.
auto.create.topics.enable=false
num.partitions=1
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
# A field of a global 0.25 degree grid is 2 MB; these are raised together or not at all.
message.max.bytes=33554432
replica.fetch.max.bytes=33554432
socket.request.max.bytes=134217728
# A lone daemon waits for no others that may be about to join.
group.initial.rebalance.delay.ms=0
# Room for the closed set of offsets; this is Kafka's own default.
offset.metadata.max.bytes=4096
log.retention.hours=168
PROPERTIES
    [[ -z $extra ]] || sed "s/{port}/$port/g; s/{controller}/$((port + 1))/g" "$extra" \
        >>"$home/server.properties"
}

start() {
    is_running && { echo "Apache Kafka is running already (process $(cat "$pid_file"))" >&2; return; }
    need java "Apache Kafka needs Java 17 (Debian: apt install openjdk-17-jre-headless)"
    fetch
    write_properties
    if [[ ! -e $home/data/meta.properties ]]; then
        java -cp "$jars/*" -Xshare:auto -XX:TieredStopAtLevel=1 kafka.tools.StorageTool format \
            -t AAAAAAAAAAAAAAAAAAAAAA -c "$home/server.properties" ${KAFKA_FORMAT:-} >"$home/format.log" 2>&1 \
            || fail "the data folder could not be made; see $home/format.log"
    fi
    # setsid: a ctrl-C meant for `make` must not end the broker.
    setsid java -Xmx"$heap" -XX:+UseSerialGC -XX:TieredStopAtLevel=1 \
        -Dorg.slf4j.simpleLogger.defaultLogLevel=warn \
        -Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info \
        -Dorg.slf4j.simpleLogger.log.org.apache.kafka.common.utils.AppInfoParser=error \
        -cp "$jars/*" kafka.Kafka "$home/server.properties" >"$log" 2>&1 </dev/null &
    echo $! >"$pid_file"
    for _ in $(seq 300); do
        grep -q "Kafka Server started" "$log" && { echo "Apache Kafka listens on localhost:$port" >&2; return; }
        is_running || break
        sleep 0.1
    done
    tail -n 5 "$log" >&2
    fail "the broker did not start; see $log"
}

stop() {
    is_running || { rm -f "$pid_file"; echo "Apache Kafka is not running" >&2; return; }
    local process
    process=$(cat "$pid_file")
    kill "$process"
    for _ in $(seq 200); do
        kill -0 "$process" 2>/dev/null || break
        sleep 0.1
    done
    kill -9 "$process" 2>/dev/null || true
    rm -f "$pid_file"
    echo "Apache Kafka stopped" >&2
}

topic() {
    local wanted waits=()
    for wanted in "$@"; do
        java -cp "$jars/*" -XX:TieredStopAtLevel=1 org.apache.kafka.tools.TopicCommand \
            --bootstrap-server "localhost:$port" --create --if-not-exists \
            --topic "${wanted%%:*}" --partitions "$([[ $wanted == *:* ]] && echo "${wanted##*:}" || echo 1)" \
            >"$home/topic.log" 2>&1 &
        waits+=($!)
    done
    local process
    for process in "${waits[@]}"; do
        wait "$process" || fail "a topic could not be made; see $home/topic.log"
    done
    [[ $# -eq 0 ]] || echo "topics: $*" >&2
}

case ${1:-} in
    start) shift; start; topic "$@" ;;
    stop) stop ;;
    wipe) stop; rm -rf "$home/data" "$home/server.properties" ;;
    topic) shift; topic "$@" ;;
    *) fail "wanted start, stop, wipe or topic, found '${1:-}'" ;;
esac
