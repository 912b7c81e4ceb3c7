#!/bin/sh
# The bot of the contract tests, for the shell: every step is a run of the binary.

note() { printf '%s\n' "$envelope" >> "$CONTRACT_LOG"; }

multibot ipc ready
while multibot ipc heartbeat; do
  envelope=$(multibot ipc receive --json --timeout 100ms) || continue
  message=$(multibot ipc receive)
  head=${message%%
*}
  body=${message#*
}
  id=${head%% *} rest=${head#* }
  case ${rest%% *} in
    note) note; multibot ipc ack "$id" ;;
    send_message) note; multibot ipc reply "$id" --text "$body" ;;
    status_request) multibot ipc reply "$id" --json '{"connected":true}' ;;
    restart_connection)
      printf '{"name":"on_restart_connection"}\n' >> "$CONTRACT_LOG"
      multibot ipc reply "$id" ;;
    shutdown)
      multibot ipc ack "$id"
      printf '{"name":"on_shutdown","mode":"graceful"}\n' >> "$CONTRACT_LOG"
      exit 0 ;;
    fail)
      note
      why=${body#*'"message":"'} why=${why%%'"'*}
      case $body in
        *retry_after*) after=${body#*'"retry_after":'}; multibot ipc fail "$id" --message "$why" --retry-after "${after%%[,\}]*}s" ;;
        *permanent*) multibot ipc fail "$id" --message "$why" --permanent ;;
        *) multibot ipc fail "$id" --message "$why" ;;
      esac ;;
    hang)
      note
      case $head in *' hang 1 '*) exec sleep 100000 ;; esac
      multibot ipc reply "$id" ;;
    flaky)
      note
      case $head in
        *' flaky 1 '*) multibot ipc fail "$id" --message "not yet" ;;
        *) multibot ipc reply "$id" --text "done at last" ;;
      esac ;;
    later)
      if grep -q "\"id\":\"$id\"" "$CONTRACT_LOG" 2>/dev/null; then
        note; multibot ipc reply "$id"
      else
        note; multibot ipc fail "$id" --message busy --retry-after 200ms
      fi ;;
    refresh_credentials)
      printf '{"name":"on_refresh_credentials","fields":%s,"credentials":%s}\n' \
        "$(printf '%s' "$envelope" | sed 's/.*"fields":\(\[[^]]*\]\).*/\1/')" \
        "$(multibot ipc credentials --json)" >> "$CONTRACT_LOG"
      multibot ipc ack "$id" ;;
    wait)
      note
      until [ -e "$CONTRACT_GATE" ]; do sleep 0.01; done
      multibot ipc ack "$id" ;;
    *)
      case $envelope in
        *'"kind":"command"'*) multibot ipc fail "$id" --permanent --message "unknown command ${rest%% *}" ;;
        *) multibot ipc ack "$id" ;;
      esac ;;
  esac
done
