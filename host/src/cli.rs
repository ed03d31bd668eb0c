//! The command line. Data goes to standard output, words to standard error. Each command is a file; this one holds the
//! arguments that they share, and what a command's end means for the exit code.

mod ask;
mod build;
mod check;
mod demo;
mod dev;
mod dlq;
mod doctor;
mod explain;
mod feed;
mod flow;
mod health;
mod kafka;
mod logs;
mod ls;
mod modules;
mod new;
mod out;
mod page;
mod run;
mod schema;
mod tap;
mod test;
mod top;
mod topics;
mod r#try;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::report::Report;
use crate::config::{Config, Kafka, plaintext};
use crate::reach;

/// A thread panicked: a restart is safe, half a process is not.
const EXIT_THREAD_DIED: i32 = 70;

#[derive(Parser, Debug)]
#[command(name = "wasmill", version, about, max_term_width = 100, arg_required_else_help = true)]
struct Args {
    /// Configuration file [default: ./wasmill.toml where it exists, else environment variables]
    #[arg(short, long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Process records until a signal comes
    Run(run::RunArgs),
    /// Check configuration, modules, Kafka and sinks, and say what to do
    Check(check::CheckArgs),
    /// Begin a transform: a crate with samples that builds
    New(new::NewArgs),
    /// Build a transform into a module and put it into the modules folder
    Build(build::BuildArgs),
    /// Run a transform's samples through the compiled module and compare
    Test(test::TestArgs),
    /// Put lines or real records through a module and see what comes out
    Try(r#try::TryArgs),
    /// Build, test and swap a transform at each change of its sources
    Dev(dev::DevArgs),
    /// Show everything at work with nothing running: an in-process Kafka and a SQLite file
    Demo(demo::DemoArgs),
    /// Put records into a topic: from files, web addresses, Postgres, or made up
    Feed(feed::FeedArgs),
    /// List, create, describe and read topics
    Topics(topics::TopicsArgs),
    /// List the flows of the running host, the broken ones first
    Ls(ls::LsArgs),
    /// Show everything about one flow of the running host
    Inspect(ls::InspectArgs),
    /// Watch the flows of the running host
    Top(top::TopArgs),
    /// Watch records pass through a flow of the running host
    Tap(tap::TapArgs),
    /// Show what the running host and its modules have logged
    Logs(logs::LogsArgs),
    /// Pause, resume or roll back a flow that runs, or reset one that does not
    Flow(flow::FlowArgs),
    /// Print the address of the running host's page
    Page(page::PageArgs),
    /// Ask the running host whether it is ready
    Health(health::HealthArgs),
    /// Count, show and redrive dead letters
    Dlq(dlq::DlqArgs),
    /// Look for what this machine, Kafka and the databases lack, each with its fix
    Doctor(doctor::DoctorArgs),
    /// Say what a code means, why it comes about and what to do
    Explain(explain::ExplainArgs),
    /// Print the JSON Schema of the configuration, for editors
    Schema(schema::SchemaArgs),
    /// Compile a component from standard input, for the program that started this one
    #[command(name = crate::runtime::apart::COMMAND, hide = true)]
    CompileApart(CompileApartArgs),
}

#[derive(clap::Args, Debug)]
struct CompileApartArgs {
    /// Most bytes of memory
    #[arg(long)]
    memory: u64,
    /// For the engine that counts instructions
    #[arg(long)]
    metered: bool,
}

/// Why a command ends with another code than 0.
#[derive(Debug)]
pub struct Failure {
    /// 1 runtime, 2 configuration, 3 environment, 78 fenced.
    pub code: u8,
    /// What was attempted, on what, the cause, and what to do; empty where all is said already.
    pub message: String,
}

impl Failure {
    pub fn runtime(message: impl Into<String>) -> Self {
        Failure { code: 1, message: message.into() }
    }

    pub fn config(message: impl Into<String>) -> Self {
        Failure { code: 2, message: message.into() }
    }

    pub fn environment(message: impl Into<String>) -> Self {
        Failure { code: 3, message: message.into() }
    }
}

impl From<Report> for Failure {
    fn from(report: Report) -> Self {
        Failure::config(report.to_string())
    }
}

/// The whole program.
pub fn main() -> ExitCode {
    die_with_the_first_panic();
    crate::failpoint::setup();
    crate::runtime::apart::is_known();
    let args = Args::parse();
    let file = args.config.as_deref();
    let result = match args.command {
        Command::Run(args) => run::run(&args, file),
        Command::Check(args) => check::run(&args, file),
        Command::New(args) => new::run(&args),
        Command::Build(args) => build::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Try(args) => r#try::run(&args, file),
        Command::Dev(args) => dev::run(&args, file),
        Command::Demo(args) => demo::run(&args),
        Command::Feed(args) => feed::run(args, file),
        Command::Topics(args) => topics::run(&args, file),
        Command::Ls(args) => ls::list(&args, file),
        Command::Inspect(args) => ls::inspect(&args, file),
        Command::Top(args) => top::run(&args, file),
        Command::Tap(args) => tap::run(&args, file),
        Command::Logs(args) => logs::run(&args, file),
        Command::Flow(args) => flow::run(&args, file),
        Command::Page(args) => page::run(&args, file),
        Command::Health(args) => health::run(&args, file),
        Command::Dlq(args) => dlq::run(&args, file),
        Command::Doctor(args) => doctor::run(&args, file),
        Command::Explain(args) => explain::run(&args),
        Command::Schema(args) => schema::run(&args),
        Command::CompileApart(args) => {
            crate::runtime::apart::serve(args.memory, args.metered).map_err(Failure::runtime)
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            out::failure(&failure.message);
            ExitCode::from(failure.code)
        }
    }
}

impl From<crate::samples::Trouble> for Failure {
    fn from(trouble: crate::samples::Trouble) -> Self {
        match trouble {
            crate::samples::Trouble::Bad(words) => Failure::config(words),
            crate::samples::Trouble::Environment(words) => Failure::environment(words),
        }
    }
}

/// How to reach Kafka: `--brokers` needs no configuration at all.
pub fn kafka_settings(file: Option<&Path>, brokers: Option<&str>) -> Result<Kafka, Failure> {
    match brokers {
        Some(brokers) => Ok(Kafka { brokers: brokers.into(), ..Kafka::default() }),
        None => {
            let config = Config { sinks: BTreeMap::new(), ..Config::load(file)? };
            plaintext::check(&config, reach::find)?;
            Ok(config.kafka)
        }
    }
}

/// The runtime of everything that waits: sinks, the HTTP server. Flows and modules run on threads of their own.
fn tokio_runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::environment(format!("cannot start threads: {error}; raise the limit of processes")))
}

/// A thread that ends leaves a pipeline that looks alive and is not: the process ends with it. The backtrace of a
/// panic helps its authors only, so it takes RUST_BACKTRACE to see it.
fn die_with_the_first_panic() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if std::env::var_os("RUST_BACKTRACE").is_some() {
            default(panic);
        } else {
            let thread = std::thread::current();
            let place = panic.location().map_or_else(String::new, |at| format!(" at {}:{}", at.file(), at.line()));
            let cause = panic.payload_as_str().unwrap_or("no message");
            writeln!(
                std::io::stderr(),
                "error: the thread `{}` died{place}: {cause}; this is a bug, a restart is safe (RUST_BACKTRACE=1 shows more)",
                thread.name().unwrap_or("unnamed"),
            )
            .ok();
        }
        std::process::exit(EXIT_THREAD_DIED);
    }));
}
