# Runs one service and ends it when its owner ends, whatever ended the owner.
#
# Arguments: the service's folder; what becomes of that folder at the end (keep or remove); the
# seconds between SIGTERM and SIGKILL (0: SIGKILL at once); the log file; the command.
# Standard input: one signal's name a line, sent to the service. Its end is the owner's end. After
# `ended`, a line `leave` lets this guard go without touching the folder.
# Standard output: `started PID`, `sent SIGNAL` or `unsent SIGNAL`, `ended CODE`.

folder=$1 fate=$2 grace=$3 log=$4
shift 4
child=

end_child() {
    if [ "$grace" -gt 0 ]; then
        kill -s TERM "$child"
        # A frozen service sees SIGTERM only once it is thawed.
        kill -s CONT "$child"
        tenths=$((grace * 10))
        while [ "$tenths" -gt 0 ] && kill -s 0 "$child"; do
            sleep 0.1
            tenths=$((tenths - 1))
        done
    fi
    kill -s KILL "$child"
} 2>/dev/null

trap 'end_child &' TERM INT HUP
# Nobody reads the reports of a guard whose owner is dead; that must not end it. A handler, unlike
# an ignored signal, is not passed on to the service.
trap : PIPE
exec 3<&0 </dev/null

"$@" >>"$log" 2>&1 3<&- &
child=$!
echo "started $child"

# The reader is a process of its own: it outlives even a SIGKILL of the shell that waits below.
(
    trap '' TERM INT HUP PIPE
    while read -r signal <&3; do
        if kill -s "$signal" "$child" 2>/dev/null; then
            echo "sent $signal"
        else
            echo "unsent $signal"
        fi
    done
    end_child
) &
reader=$!

# A trapped signal interrupts `wait`; only a child that has been waited for is no longer there.
while :; do
    wait "$child"
    code=$?
    kill -s 0 "$child" 2>/dev/null || break
done
trap - TERM INT HUP
# From here on the number of the child may belong to a stranger.
kill -s KILL "$reader" 2>/dev/null
wait "$reader" 2>/dev/null
echo "ended $code"

while read -r word <&3; do
    [ "$word" = leave ] && exit 0
done
if [ "$fate" = remove ]; then
    rm -rf -- "$folder"
    # The last service of a set takes the set's folder along.
    rmdir -- "${folder%/*}" 2>/dev/null
fi
exit 0
