# Runs a server ("$@") until it ends, or until nobody holds a lock on "$users" any more: so it ends with those who use
# it, however they end. "$door" is held when that is decided; "$mark" says that the server can be used.
# Whoever finds "$kept" unlocked may remove the server's files.
door=$1 users=$2 mark=$3 kept=$4 log=$5
shift 5
exec 9<"$kept" && flock --shared 9 || exit
"$@" </dev/null >"$log" 2>&1 &
server=$!
echo "$server"
exec >/dev/null 2>&1
{
    while flock "$users" true && ! flock "$door" flock --nonblock "$users" rm -f "$mark"; do :; done
    kill -KILL "$server"
} 9<&- &
wait "$server"
rm -f $LEFT_BEHIND
# The server's own children, and who waits above.
kill -KILL 0
