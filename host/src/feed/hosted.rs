//! Feeds that the host runs: `[feed.NAME]`. Several hosts with the same configuration take turns: who has the seat of a
//! feed runs it, and notes in Kafka how far it has got; whoever takes over goes on from there. What was sent and not
//! noted when a host died is sent again.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use super::generate::Generator;
use super::http::{Http, Poll};
use super::postgres::{Postgres, Query};
use super::publish::{self, Ended, Listener, Progress, Target};
use super::seat::Seat;
use super::{Source, Trouble};
use crate::config::{self, Config, Secret};
use crate::health::Health;
use crate::shutdown::Shutdown;
use crate::sinks::backoff;

/// Between two polls, where nothing else is said.
const EVERY: Duration = Duration::from_secs(10);
/// Longest time for one answer, where nothing else is said.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How often the seat is looked at, and how often the place is noted.
const LOOK: Duration = Duration::from_millis(100);
const NOTE: Duration = Duration::from_secs(1);
/// How often progress is logged.
const TELL: Duration = Duration::from_secs(60);
/// A feed that has worked or waited for so long is well.
const SETTLED: Duration = Duration::from_secs(10);
/// Time for the feeds to end with the host; what they have sent is acknowledged or sent again.
const LEAVE: Duration = Duration::from_secs(3);

/// The feeds of a host.
pub struct Hosted {
    threads: Vec<(String, JoinHandle<()>)>,
}

impl Hosted {
    /// Starts a thread for each feed of the configuration; they end with `shutdown`.
    pub fn start(config: &Config, health: &Arc<Health>, shutdown: &Arc<Shutdown>) -> Result<Self, String> {
        let mut threads = Vec::new();
        for (name, feed) in &config.feed {
            let one = One {
                name: name.clone(),
                feed: feed.clone(),
                config: config.clone(),
                health: health.clone(),
                shutdown: shutdown.clone(),
            };
            let started = std::thread::Builder::new().name(format!("feed {name}")).spawn(move || one.run());
            threads.push((name.clone(), started.map_err(|cause| format!("cannot start a thread: {cause}"))?));
        }
        Ok(Hosted { threads })
    }

    /// Waits for their end, but not for brokers that are away.
    pub fn join(self) {
        let end = Instant::now() + LEAVE;
        for (name, thread) in self.threads {
            while !thread.is_finished() && Instant::now() < end {
                std::thread::sleep(LOOK / 10);
            }
            if !thread.is_finished() {
                warn!(feed = name, "not everything that was sent is acknowledged; it will be sent again");
            }
        }
    }
}

/// One feed.
struct One {
    name: String,
    feed: config::Feed,
    config: Config,
    health: Arc<Health>,
    shutdown: Arc<Shutdown>,
}

impl One {
    fn run(self) {
        let key = self.key();
        let mut failures = 0;
        while !self.shutdown.requested() {
            match self.attempt() {
                Ok(finished) => {
                    self.health.solved(&key);
                    if finished {
                        return info!(feed = self.name, topic = self.feed.topic, "the feed has come to its end");
                    }
                    failures = 0;
                }
                Err(trouble) => {
                    failures += 1;
                    let words = words(trouble);
                    if self.health.problem_is_new(&key, &words) {
                        error!(feed = self.name, topic = self.feed.topic, "{words}");
                    }
                    self.health.problem(&key, words);
                    self.shutdown.wait_timeout(backoff::next(failures + 4));
                }
            }
        }
    }

    /// Waits for the seat and feeds while it has it. `true`: the source has come to its end.
    fn attempt(&self) -> Result<bool, Trouble> {
        let target = self.target();
        publish::ensure_topic(&target)?;
        let mut seat = Seat::take(&self.config.kafka, &self.name, &target.topic).map_err(Trouble::Environment)?;
        let begun = Instant::now();
        while !seat.look(LOOK).map_err(Trouble::Environment)? {
            if self.shutdown.requested() {
                return Ok(false);
            }
            self.solved_after(begun);
        }
        let place = seat.place().map_err(Trouble::Environment)?;
        info!(feed = self.name, topic = target.topic, after = place.as_deref().unwrap_or("the beginning"), "feeding");
        let source = self.source(place.clone())?;
        let (ended, seat, noted) = self.feed(source, &target, seat, place);
        let displaced = ended.stopped && !self.shutdown.requested();
        let kept = seat.note(&noted);
        ended.result?;
        match kept {
            // Another host has the seat already and goes on from what was noted before.
            Err(words) if displaced => info!(feed = self.name, "{words}: another host has taken over"),
            kept => kept.map_err(Trouble::Environment)?,
        }
        Ok(!ended.stopped)
    }

    /// What went on for so long is no problem any more, also where there was nothing to feed.
    fn solved_after(&self, begun: Instant) {
        if begun.elapsed() > SETTLED {
            self.health.solved(&self.key());
        }
    }

    fn key(&self) -> String {
        format!("feed {}", self.name)
    }

    /// Feeds on a thread of its own, while this one keeps the seat.
    fn feed(
        &self,
        source: Box<dyn Source>,
        target: &Target,
        mut seat: Seat,
        place: Option<String>,
    ) -> (Ended, Seat, Option<String>) {
        let stop = Shutdown::new();
        let (places, noted) = crossbeam_channel::unbounded();
        let number = source.about().resume == super::Resume::Number;
        std::thread::scope(|scope| {
            let running = scope.spawn(|| {
                let told = (Instant::now(), 0);
                let mut listener = Told { one: self, counted: 0, told, places, number, last: None };
                publish::run(source, target, &stop, &mut listener)
            });
            let mut kept = place.clone();
            let mut place = place;
            let begun = Instant::now();
            let mut at = begun;
            while !running.is_finished() {
                self.solved_after(begun);
                let mine = seat.look(LOOK).unwrap_or(true);
                if self.shutdown.requested() || !mine {
                    stop.request();
                }
                place = noted.try_iter().last().or(place);
                if mine && place != kept && at.elapsed() > NOTE {
                    at = Instant::now();
                    match seat.note(&place) {
                        Ok(()) => kept.clone_from(&place),
                        Err(words) => warn!(feed = self.name, "{words}; it is tried again"),
                    }
                }
            }
            let ended = running.join().unwrap_or_else(|_| Ended {
                progress: Progress::default(),
                stopped: true,
                result: Err(Trouble::Environment("the feed's thread died".into())),
            });
            place = noted.try_iter().last().or(place);
            (ended, seat, place)
        })
    }

    fn target(&self) -> Target {
        let feed = &self.feed;
        Target {
            kafka: self.config.kafka.clone(),
            topic: feed.topic.clone(),
            partitions: feed.partitions,
            replication: feed.replication_factor,
            compression: feed.compression.map(|compression| compression.name().to_owned()),
            rate: feed.rate,
            key: feed.key.as_ref().map(|key| key.clone().into_bytes()),
            key_field: feed.key_field.clone(),
        }
    }

    /// The source, set to go on after `place`.
    fn source(&self, place: Option<String>) -> Result<Box<dyn Source>, Trouble> {
        let feed = &self.feed;
        let every = Some(feed.every.map_or(EVERY, |every| every.0));
        if let Some(url) = &feed.http {
            let headers = feed.headers.iter().map(|(name, value)| (name.clone(), value.expose().to_owned())).collect();
            return Ok(Box::new(Http::new(Poll {
                url: url.expose().to_owned(),
                every,
                polls: None,
                pointer: feed.pointer.clone(),
                headers,
                timeout: feed.timeout.map_or(TIMEOUT, |timeout| timeout.0),
                raw: feed.raw,
                ca: feed.ca.as_ref().map(|file| self.config.base.join(file)),
                etag: place,
            })?));
        }
        if let Some(sql) = &feed.postgres {
            let column = feed.column.clone().unwrap_or_else(|| "id".to_owned());
            let url = self.database()?;
            return Ok(Box::new(Postgres::new(Query { url, sql: sql.clone(), column, every, after: place })?));
        }
        let kind = feed.generate.ok_or_else(|| Trouble::Request("nothing says where the records come from".into()))?;
        let after = place.and_then(|place| place.parse().ok()).unwrap_or(0);
        let (count, seed) = (feed.count, feed.seed.unwrap_or(1));
        Ok(Box::new(Generator { kind, count, after, seed, keys: feed.keys, bad: feed.bad.unwrap_or(0.0) }))
    }

    fn database(&self) -> Result<Secret, Trouble> {
        let sink = || self.config.sinks.values().find(|sink| sink.is_postgres()).map(|sink| sink.url.clone());
        self.feed.url.clone().or_else(sink).ok_or_else(|| Trouble::Request("no database is named: add `url`".into()))
    }
}

/// Logs what is acknowledged, and passes places on.
struct Told<'a> {
    one: &'a One,
    counted: u64,
    /// When progress was last logged, and how much it was.
    told: (Instant, u64),
    places: crossbeam_channel::Sender<String>,
    /// Places are numbers, not marks.
    number: bool,
    last: Option<String>,
}

impl Listener for Told<'_> {
    fn progress(&mut self, progress: &Progress) {
        if progress.acknowledged > self.counted {
            self.one.health.solved(&self.one.key());
        }
        self.counted = progress.acknowledged;
        let (at, before) = self.told;
        if self.counted > before && at.elapsed() > TELL {
            self.told = (Instant::now(), self.counted);
            info!(feed = self.one.name, topic = self.one.feed.topic, records = self.counted - before, "fed");
        }
        let place = match self.number {
            true => progress.number.map(|number| number.to_string()),
            false => progress.mark.as_deref().map(str::to_owned),
        };
        if let Some(place) = place.filter(|place| self.last.as_ref() != Some(place)) {
            self.last = Some(place.clone());
            // Who receives lives as long as the feed.
            self.places.send(place).ok();
        }
    }

    fn note(&mut self, words: &str) {
        warn!(feed = self.one.name, topic = self.one.feed.topic, "{words}");
    }
}

fn words(trouble: Trouble) -> String {
    match trouble {
        Trouble::Closed => "the feed was stopped".into(),
        Trouble::Request(words) | Trouble::Data(words) | Trouble::Environment(words) => words,
    }
}
