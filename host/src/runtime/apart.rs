//! Compiling in a process of its own, with a limit of time and memory: a file that keeps the compiler busy costs itself and
//! nothing else. The process is this program once more; it gets the bytes of a component on standard input, no
//! environment and no secret, and answers with the compiled code. Where no process can be started the code is
//! compiled here, as it is where the program does not know the command.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use wasmtime::Engine;

use super::LOAD_STACK;
use super::engine::{self, words};
use crate::config::Modules;

/// The hidden command.
pub const COMMAND: &str = "compile-apart";
/// What an answer begins with: the code follows, or why there is none.
const CODE: &[u8; 8] = b"wasmcode";
const REFUSED: &[u8; 8] = b"refused:";
/// The program that runs, even where its file was replaced since.
const PROGRAM: &str = "/proc/self/exe";
/// Compiling that takes longer than this makes room for everything else.
const POLITE_AFTER: Duration = Duration::from_secs(1);
/// The lowest priority there is.
const POLITE: i32 = 19;
/// Most words of a process that died.
const LAST_WORDS: u64 = 2_000;

static KNOWN: AtomicBool = AtomicBool::new(false);

/// The limits of compiling.
#[derive(Clone, Copy, Debug)]
pub struct Apart {
    pub time: Duration,
    /// In bytes.
    pub memory: u64,
}

/// Why there is no compiled code.
pub(super) enum Missing {
    /// No process can be started: the cause.
    NoProcess(std::io::Error),
    /// What is wrong with the module, to be read on from `cannot be compiled: `.
    Refused(String),
}

/// The running program knows the command.
pub fn is_known() {
    KNOWN.store(true, Ordering::Relaxed);
}

impl Apart {
    /// The configured limits; `None` where the running program does not know the command.
    pub fn of(modules: &Modules) -> Option<Apart> {
        let known = KNOWN.load(Ordering::Relaxed) && Path::new(PROGRAM).exists();
        known.then(|| Apart { time: modules.compile_time.0, memory: modules.compile_memory.bytes() as u64 })
    }

    /// Compiles a component.
    pub(super) fn compile(&self, component: &[u8], metered: bool) -> Result<Vec<u8>, Missing> {
        let mut command = Command::new(PROGRAM);
        command.args([COMMAND, "--memory", &self.memory.to_string()]);
        if metered {
            command.arg("--metered");
        }
        command.env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A program that was linked against libraries elsewhere.
        command.envs(std::env::var_os("LD_LIBRARY_PATH").map(|path| ("LD_LIBRARY_PATH", path)));
        let mut child = command.spawn().map_err(Missing::NoProcess)?;
        let (answer, last, status) = self.converse(&mut child, component).map_err(Missing::NoProcess)?;
        match (answer, status) {
            (None, _) => {
                let seconds = self.time.as_secs_f64();
                Err(Missing::Refused(format!(
                    "it takes the compiler more than {seconds} s (modules.compile_time): make it smaller"
                )))
            }
            (Some(answer), status) => self.read(answer, &last, status),
        }
    }

    /// Sends the component and waits for the answer; `None` where it took too long.
    fn converse(&self, child: &mut Child, component: &[u8]) -> std::io::Result<(Option<Vec<u8>>, String, ExitStatus)> {
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(mut input), Some(mut output), Some(errors)) = pipes else {
            return Err(std::io::Error::other("no pipes"));
        };
        std::thread::scope(|scope| {
            let (tell, told) = mpsc::channel();
            // A process that has died takes nothing: its end says why.
            scope.spawn(move || input.write_all(component).ok());
            let last = scope.spawn(move || {
                let mut said = Vec::new();
                errors.take(LAST_WORDS).read_to_end(&mut said).ok();
                String::from_utf8_lossy(&said).into_owned()
            });
            scope.spawn(move || {
                let mut answer = Vec::new();
                output.read_to_end(&mut answer).ok();
                tell.send(answer).ok();
            });
            let answer = match told.recv_timeout(self.time) {
                Ok(answer) => Some(answer),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    child.kill()?;
                    None
                }
            };
            let status = child.wait()?;
            Ok((answer, last.join().unwrap_or_default(), status))
        })
    }

    fn read(&self, mut answer: Vec<u8>, last: &str, status: ExitStatus) -> Result<Vec<u8>, Missing> {
        let head = answer.get(..CODE.len()).map(<[u8]>::to_vec).unwrap_or_default();
        if status.success() && head == CODE {
            answer.drain(..CODE.len());
            return Ok(answer);
        }
        if status.success() && head == REFUSED {
            return Err(Missing::Refused(String::from_utf8_lossy(&answer[REFUSED.len()..]).into_owned()));
        }
        let megabytes = self.memory >> 20;
        Err(Missing::Refused(match last.contains("memory allocation of") {
            true => format!(
                "it takes the compiler more than {megabytes} MiB of memory (modules.compile_memory): make it smaller"
            ),
            false => format!("the compiler ended with {status}, on at most {megabytes} MiB of memory; {last}"),
        }))
    }
}

/// What the process does that was started for it.
pub fn serve(memory: u64, metered: bool) -> Result<(), String> {
    restrict(memory);
    let mut component = Vec::new();
    std::io::stdin().read_to_end(&mut component).map_err(|cause| format!("no module on standard input: {cause}"))?;
    let (head, body) = match compile_politely(&component, metered)? {
        Ok(code) => (CODE, code),
        Err(words) => (REFUSED, words.into_bytes()),
    };
    let mut output = std::io::stdout().lock();
    let written = output.write_all(head).and_then(|()| output.write_all(&body)).and_then(|()| output.flush());
    written.map_err(|cause| format!("nobody takes the compiled code: {cause}"))
}

fn compile_politely(component: &[u8], metered: bool) -> Result<Result<Vec<u8>, String>, String> {
    let number = AtomicI32::new(0);
    let thread = &number;
    std::thread::scope(|scope| {
        let (tell, told) = mpsc::channel();
        let compile = move || {
            thread.store(own_thread(), Ordering::Relaxed);
            let engine = Engine::new(&engine::config(metered)).map_err(|error| words(&error));
            tell.send(engine.and_then(|engine| engine.precompile_component(component).map_err(|e| words(&e)))).ok();
        };
        let builder = std::thread::Builder::new().name("compile".into()).stack_size(LOAD_STACK);
        builder.spawn_scoped(scope, compile).map_err(|cause| format!("no thread: {cause}"))?;
        told.recv_timeout(POLITE_AFTER)
            .or_else(|_| {
                make_polite(thread.load(Ordering::Relaxed), POLITE);
                told.recv()
            })
            .map_err(|_| "the compiler's thread died".to_owned())
    })
}

/// Bounds this process: its memory, and its life by that of the thread that waits for it. It is also the first that the
/// system ends where memory is short.
#[allow(unsafe_code, reason = "setrlimit and prctl take numbers and concern this process alone")]
fn restrict(memory: u64) {
    #[cfg(target_os = "linux")]
    {
        let limit = libc::rlimit { rlim_cur: memory, rlim_max: memory };
        // SAFETY: see the reason above; `limit` outlives the call.
        unsafe {
            libc::setrlimit(libc::RLIMIT_DATA, &raw const limit);
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        }
        std::fs::write("/proc/self/oom_score_adj", "1000").ok();
    }
    #[cfg(not(target_os = "linux"))]
    let _: u64 = memory;
}

/// The system's number of this thread.
#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "gettid has no argument and cannot fail")]
pub(super) fn own_thread() -> i32 {
    // SAFETY: see the reason above.
    unsafe { libc::gettid() }
}

/// Elsewhere threads keep their priority.
#[cfg(not(target_os = "linux"))]
pub(super) fn own_thread() -> i32 {
    0
}

/// How long a thread has been on a processor, with the precision of the scheduler's last look.
pub(super) fn processor_time(thread: i32) -> Option<Duration> {
    let told = std::fs::read_to_string(format!("/proc/self/task/{thread}/schedstat")).ok()?;
    Some(Duration::from_nanos(told.split(' ').next()?.parse().ok()?))
}

/// Lets others go before a thread: the more, the higher the number, up to 19.
#[allow(unsafe_code, reason = "setpriority takes numbers; 0 would be the calling thread")]
pub(super) fn make_polite(thread: i32, nice: i32) {
    #[cfg(target_os = "linux")]
    if thread > 0 {
        // SAFETY: see the reason above. On Linux a thread's number is taken for that thread alone.
        unsafe { libc::setpriority(libc::PRIO_PROCESS, thread as libc::id_t, nice) };
    }
    #[cfg(not(target_os = "linux"))]
    let _: (i32, i32) = (thread, nice);
}
