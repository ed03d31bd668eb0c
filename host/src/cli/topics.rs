//! `wasmill topics`: what a topic's page in a web tool would show, as lines or as JSON.

mod show;

use std::path::Path;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::{Failure, kafka_settings, out};
use crate::cluster::{Cluster, NewTopic, Topic};
use crate::shutdown::Shutdown;

/// Longest time between two looks at the wish to stop.
const TICK: Duration = Duration::from_millis(200);

const EXAMPLES: &str = "\
Examples:
  wasmill topics ls
  wasmill topics create orders --partitions 3 --set retention.ms=86400000
  wasmill topics describe orders                     leaders, replicas, offsets, and the lag of each group
  wasmill topics tail orders -n 5 --follow";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct TopicsArgs {
    #[command(subcommand)]
    what: What,
    /// Brokers as host:port,… [default: from the configuration, or KAFKA_BROKERS]
    #[arg(short, long, global = true)]
    brokers: Option<String>,
    /// JSON instead of lines
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand, Debug)]
enum What {
    /// List the topics
    Ls {
        /// Also those of Kafka itself, which begin with __
        #[arg(long)]
        all: bool,
    },
    /// Create a topic
    Create(CreateArgs),
    /// Show partitions, leaders, replicas, offsets, settings, and the lag of the groups that read
    Describe(DescribeArgs),
    /// Show the newest records; no group is joined
    Tail(TailArgs),
}

#[derive(Args, Debug)]
struct CreateArgs {
    topic: String,
    /// Partitions: as many instances of a flow can share the topic [default: the brokers']
    #[arg(short, long, value_parser = clap::value_parser!(i32).range(1..=100_000))]
    partitions: Option<i32>,
    /// Copies of each partition [default: the brokers']
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=1_000))]
    replication_factor: Option<i32>,
    /// A setting such as cleanup.policy=compact; may be given again
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = super::r#try::pair)]
    set: Vec<(String, String)>,
}

#[derive(Args, Debug)]
struct DescribeArgs {
    topic: String,
    /// Only this consumer group
    #[arg(short, long)]
    group: Option<String>,
}

#[derive(Args, Debug)]
struct TailArgs {
    topic: String,
    /// How many
    #[arg(short = 'n', long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    number: u32,
    /// Go on with those that come, until Ctrl-C
    #[arg(short, long)]
    follow: bool,
}

pub(super) fn run(args: &TopicsArgs, config: Option<&Path>) -> Result<(), Failure> {
    let kafka = kafka_settings(config, args.brokers.as_deref())?;
    let cluster = Cluster::connect(&kafka).map_err(Failure::config)?;
    match &args.what {
        What::Ls { all } => list(&cluster, *all, args.json),
        What::Create(create) => create_topic(&cluster, create, args.json),
        What::Describe(describe) => describe_topic(&cluster, describe, args.json),
        What::Tail(tail) => tail_topic(&cluster, tail, args.json),
    }
}

fn list(cluster: &Cluster, all: bool, json: bool) -> Result<(), Failure> {
    let mut topics = cluster.topics().map_err(Failure::environment)?;
    topics.retain(|topic| all || !topic.name.starts_with("__"));
    show::list(&topics, json);
    Ok(())
}

fn create_topic(cluster: &Cluster, args: &CreateArgs, json: bool) -> Result<(), Failure> {
    let new = NewTopic {
        name: args.topic.clone(),
        partitions: args.partitions.unwrap_or(-1),
        replication: args.replication_factor.unwrap_or(-1),
        settings: args.set.clone(),
    };
    let (made, topic) = cluster.create(&new).map_err(Failure::environment)?;
    if !made {
        let words = format!("topic {0} is there already: wasmill topics describe {0} shows it", args.topic);
        return Err(Failure::runtime(words));
    }
    show::list(&[topic], json);
    Ok(())
}

fn describe_topic(cluster: &Cluster, args: &DescribeArgs, json: bool) -> Result<(), Failure> {
    let topic = find(cluster, &args.topic)?;
    let ends: Result<Vec<_>, _> = topic.partitions.iter().map(|p| cluster.ends(&topic.name, p.number)).collect();
    let ends = ends.map_err(Failure::environment)?;
    // A user that may read a topic may not always see its settings, or other groups.
    let settings = cluster.settings(&topic.name).unwrap_or_else(|words| {
        out::say(&words);
        Default::default()
    });
    let readers = cluster.readers(&topic, args.group.as_deref());
    let (readers, unread) = readers.unwrap_or_else(|words| (Vec::new(), vec![words]));
    unread.iter().for_each(|words| out::say(words));
    show::describe(&show::Described { topic: &topic, ends: &ends, settings: &settings, readers: &readers }, json);
    Ok(())
}

fn tail_topic(cluster: &Cluster, args: &TailArgs, json: bool) -> Result<(), Failure> {
    let topic = find(cluster, &args.topic)?;
    let mut tail = cluster.tail(&topic, i64::from(args.number)).map_err(Failure::environment)?;
    let found = tail.newest(args.number as usize).map_err(Failure::environment)?;
    let mut read = found.iter().all(|record| out::is_read(&show::record(record, json)));
    if !args.follow {
        return Ok(());
    }
    let shutdown =
        Shutdown::listen().map_err(|cause| Failure::environment(format!("cannot listen for signals: {cause}")))?;
    while read && !shutdown.requested() {
        if let Some(record) = tail.next(TICK).map_err(Failure::environment)? {
            read = out::is_read(&show::record(&record, json));
        }
    }
    Ok(())
}

fn find(cluster: &Cluster, name: &str) -> Result<Topic, Failure> {
    let topics = cluster.topics().map_err(Failure::environment)?;
    let names: Vec<String> = topics.iter().map(|topic| topic.name.clone()).collect();
    topics.into_iter().find(|topic| topic.name == name).ok_or_else(|| {
        let near = crate::config::report::nearest(name, names.iter().map(String::as_str));
        let help = match near {
            Some(near) => format!("did you mean {near}?"),
            None => "wasmill topics ls shows them".to_owned(),
        };
        Failure::runtime(format!("there is no topic {name}; {help}"))
    })
}
