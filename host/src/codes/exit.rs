//! The exit codes.

use super::Entry;

pub(super) const ENTRIES: [Entry; 8] = [
    Entry {
        code: "exit-0",
        means: "everything that was asked for is done",
        why: "A host that is stopped by one signal ends with it too, once what was on its way is committed.",
        act: "nothing.",
    },
    Entry {
        code: "exit-1",
        means: "it went wrong while running",
        why: "A flow stopped on purpose (`on_error = \"stop\"`, `fatal(…)`), samples of `wasmill test` failed, or the host \
              that was asked is not ready.",
        act: "read the last lines on standard error: they name what was attempted, on what, and what to do.",
    },
    Entry {
        code: "exit-2",
        means: "the configuration or the command line is wrong",
        why: "A key or a value that is not known, a flow that must not run as configured, a wrong argument.",
        act: "follow the message, which has line and caret; `wasmill check --offline` finds the next one without a start.",
    },
    Entry {
        code: "exit-3",
        means: "something outside of the program is missing",
        why: "A server that does not answer, a port that is taken, a folder without rights, no Wasm toolchain.",
        act: "run `wasmill doctor`: it names each thing that is missing with the command that mends it.",
    },
    Entry {
        code: "exit-70",
        means: "a thread of the host died",
        why: "A bug of wasmill or memory that was not there: half a pipeline must not look alive, so the process ends.",
        act: "start it again, which is always safe; report the line that begins with `error: the thread`.",
    },
    Entry {
        code: "exit-78",
        means: "another host runs under the same name",
        why: "Two processes have the same `[host] instance`: the younger one took over the transactions of this one.",
        act: "give each host its own `instance`, such as the name of its pod, or leave it empty.",
    },
    Entry {
        code: "exit-130",
        means: "ended at once by a second Ctrl-C",
        why: "The second signal does not wait for batches that are on their way.",
        act: "nothing: what was not committed is read again at the next start.",
    },
    Entry {
        code: "exit-143",
        means: "ended at once by a second SIGTERM",
        why: "As exit-130. A supervisor that sends two signals in a row does not let the host finish.",
        act: "give the host 10 s between SIGTERM and whatever follows.",
    },
];
