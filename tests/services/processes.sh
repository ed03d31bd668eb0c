# shellcheck shell=bash
# Processes that this directory's `up` started, by pid and kernel start time: a reused pid is never signalled.

stat_field() { # pid field-after-the-command-name
  local line
  line=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  # The command's name may hold spaces.
  line=${line##*) }
  cut -d' ' -f"$2" <<<"$line"
}
start_time() { stat_field "$1" 20; }
alive() { # pid start-time
  local started
  started=$(start_time "$1") && [ "$started" = "$2" ] && [ "$(stat_field "$1" 1)" != Z ]
}
record() { # name pid signal
  (
    flock 7
    printf '%s %s %s %s\n' "$1" "$2" "$(start_time "$2")" "$3" >>"$RUN/pids"
  ) 7>"$RUN/.pids.lock"
}
recorded() { awk -v name="$1" '$1 == name { print $2, $3; found = 1 } END { exit !found }' "$RUN/pids"; } # name
value_of() { sed -n "s/^$1=//p" "$RUN/env"; } # variable

forget() { # name
  (
    flock 7
    sed -i "/^$1 /d" "$RUN/pids"
  ) 7>"$RUN/.pids.lock"
}

launch() { # name, of a directory with a file `start`
  setsid bash "$RUN/$1/start" </dev/null >/dev/null 2>&1 8>&- &
  record "$1" $! TERM
}

all_alive() {
  local name pid started signal
  [ -e "$RUN/pids" ] || return 0
  while read -r name pid started signal; do alive "$pid" "$started" || return 1; done <"$RUN/pids"
}

# What `up` started, and in the file `others` what a test has added.
everything() { cat "$RUN/pids" "$RUN/others" 2>/dev/null || true; }

any_alive() {
  local name pid started signal
  while read -r name pid started signal; do ! alive "$pid" "$started" || return 0; done < <(everything)
  return 1
}

end_recorded() {
  local name pid started signal i
  while read -r name pid started signal; do
    ! alive "$pid" "$started" || kill "-$signal" "$pid" 2>/dev/null || true
  done < <(everything)
  for ((i = 0; i < 100; i++)); do
    any_alive || break
    sleep 0.1
  done
  while read -r name pid started signal; do
    alive "$pid" "$started" || continue
    say "$name ($pid) did not stop in 10 s: KILL"
    kill -KILL "$pid" 2>/dev/null || true
  done < <(everything)
  rm -f "$RUN/pids" "$RUN/others"
}

remove_data() {
  local directory
  if [ -s "$RUN/tmpdirs" ]; then
    while read -r directory; do case $directory in */wasmill-pg.*) rm -rf "$directory" ;; esac; done <"$RUN/tmpdirs"
  fi
  rm -rf "$RUN"/kafka[0-9]* "$RUN/postgres" "$RUN/ferretdb" "$RUN/mongo-java-server" "$RUN/tmpdirs" "$RUN/initdb.log" "$RUN/tls"
}

free_ports() { # n -> n free loopback ports, one per line; nobody else is given them before this script ends
  python3 - "$1" $$ <<'P'
import os, random, socket, sys, time
sockets = []
while len(sockets) < int(sys.argv[1]):
    s = socket.socket()
    # Below those that connections get from the system: it takes seconds until the service has bound its own.
    try: s.bind(("127.0.0.1", random.randrange(10000, 32000)))
    except OSError: continue
    # A service, which sets the same, may bind it beside us; who looks for a free one, as above, may not.
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sockets.append(s)
for s in sockets: print(s.getsockname()[1])
sys.stdout.flush()
if os.fork(): os._exit(0)
kept = {s.fileno() for s in sockets}
for fd in range(256):
    if fd not in kept:
        try: os.close(fd)
        except OSError: pass
end = time.time() + 300
while os.path.exists("/proc/" + sys.argv[2]) and time.time() < end: time.sleep(0.2)
P
}

tcp_ready() { # port seconds
  local end=$((SECONDS + $2))
  until (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; do
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep 0.05
  done
}

# A broker that listens may not serve yet: ready is when Metadata lists that many brokers.
kafka_ready() { # brokers nodes seconds
  python3 - "$@" <<'P'
import socket, struct, sys, time
host, port = sys.argv[1].split(",")[0].rsplit(":", 1)
need, end = int(sys.argv[2]), time.time() + float(sys.argv[3])
body = struct.pack(">hhih", 3, 4, 1, 1) + b"x" + struct.pack(">ib", 0, 0)
while time.time() < end:
    try:
        with socket.create_connection((host, int(port)), timeout=2) as s:
            s.settimeout(5)
            s.sendall(struct.pack(">i", len(body)) + body)
            answer = b""
            while len(answer) < 16:
                part = s.recv(4096)
                if not part: break
                answer += part
            if len(answer) >= 16 and struct.unpack(">i", answer[12:16])[0] >= need: sys.exit(0)
    except OSError: pass
    time.sleep(0.03)
sys.exit(1)
P
}
