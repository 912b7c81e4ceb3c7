#!/bin/sh
# Says ready, beats every second, echoes messages, answers status requests, ends when told to.
n=0
put() {   # path to appear at, text
  printf '%s\n' "$2" > "$MULTIBOT_OUTBOX/tmp/sh.$$" && mv "$MULTIBOT_OUTBOX/tmp/sh.$$" "$1"
}
post() {  # kind, name, id of the command or nothing, payload
  n=$((n + 1)); id=$MULTIBOT_RUN_ID-$(printf %06d "$n")
  put "$MULTIBOT_OUTBOX/new/$id.ndjson" "{\"id\":\"$id\",\"kind\":\"$1\",\"name\":\"$2\",${3:+\"correlation_id\":\"$3\",}\"payload\":$4}"
}
post event ready '' '{}'
while put "$MULTIBOT_HEARTBEAT" '{"id":"beat","kind":"heartbeat","name":"heartbeat"}'; do
  for file in "$MULTIBOT_INBOX"/new/*.ndjson; do
    mine=$MULTIBOT_INBOX/cur/$MULTIBOT_RUN_ID,${file##*/}
    [ -f "$file" ] && mv "$file" "$mine" || continue
    while IFS= read -r line; do
      id=${line#*'"id":"'} name=${line#*'"name":"'} text=${line#*'"payload":'}
      case ${name%%'"'*} in
        shutdown) rm "$mine"; exit 0 ;;
        status_request) post response status_response "${id%%'"'*}" '{}' ;;
        send_message) post response send_message "${id%%'"'*}" "${text%?}" ;;
      esac
    done < "$mine"
    rm "$mine"
  done
  sleep 1
done
