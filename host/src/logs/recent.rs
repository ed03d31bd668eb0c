//! The last lines of the log, in memory: for the page and `wasmill logs`. The same lines as on the console, of level
//! info and above.

use std::collections::VecDeque;
use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Lines that are kept.
const KEPT: usize = 500;
/// Longest line that is kept.
const LINE_BYTES: usize = 2 << 10;

/// A line of the log.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Line {
    /// Milliseconds since 1970.
    pub at: i64,
    /// `ERROR`, `WARN` or `INFO`.
    pub level: String,
    /// Where it was said: `wasmill::guest` for lines of modules.
    pub target: String,
    pub message: String,
    /// The flow that it concerns; empty where it concerns none.
    pub flow: String,
    /// The module that said it.
    pub module: String,
    /// Everything else: `key=value key=value`.
    pub fields: String,
}

/// The lines, and those who wait for the next one.
#[derive(Debug)]
pub struct Recent {
    lines: Mutex<VecDeque<Arc<Line>>>,
    next: broadcast::Sender<Arc<Line>>,
}

impl Recent {
    pub fn new() -> Arc<Self> {
        Arc::new(Recent { lines: Mutex::default(), next: broadcast::channel(KEPT).0 })
    }

    /// The last lines, oldest first, and what comes after them.
    pub fn listen(&self, most: usize) -> (Vec<Arc<Line>>, broadcast::Receiver<Arc<Line>>) {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let skipped = lines.len().saturating_sub(most);
        (lines.iter().skip(skipped).cloned().collect(), self.next.subscribe())
    }

    fn add(&self, line: Line) {
        let line = Arc::new(line);
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == KEPT {
            lines.pop_front();
        }
        lines.push_back(line.clone());
        // Nobody listens: that is no error.
        drop(self.next.send(line));
    }
}

/// Takes lines from `tracing`.
pub(super) struct Tee(pub(super) Arc<Recent>);

impl<S: Subscriber> Layer<S> for Tee {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut said = Said::default();
        event.record(&mut said);
        said.message.truncate(said.message.floor_char_boundary(LINE_BYTES));
        said.fields.truncate(said.fields.floor_char_boundary(LINE_BYTES));
        let metadata = event.metadata();
        self.0.add(Line {
            at: crate::board::now(),
            level: metadata.level().to_string(),
            target: metadata.target().to_owned(),
            message: said.message,
            flow: said.flow,
            module: said.module,
            fields: said.fields,
        });
    }
}

#[derive(Default)]
struct Said {
    message: String,
    flow: String,
    module: String,
    fields: String,
}

impl Said {
    fn note(&mut self, field: &Field, value: std::fmt::Arguments<'_>) {
        let place = match field.name() {
            "message" => &mut self.message,
            "flow" => &mut self.flow,
            "module" => &mut self.module,
            name => {
                let space = if self.fields.is_empty() { "" } else { " " };
                // Writing to a String cannot fail.
                write!(self.fields, "{space}{name}=").ok();
                &mut self.fields
            }
        };
        place.write_fmt(value).ok();
    }
}

impl Visit for Said {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.note(field, format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.note(field, format_args!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::layer::SubscriberExt as _;

    #[test]
    fn lines_are_kept_with_their_flow_and_the_oldest_go_first() {
        let recent = Recent::new();
        let subscriber = tracing_subscriber::registry().with(Tee(recent.clone()));
        let (_, mut next) = recent.listen(0);
        tracing::subscriber::with_default(subscriber, || {
            for n in 0..2 * KEPT {
                tracing::warn!(flow = "quotes", attempt = n, "said");
            }
        });
        let (lines, _) = recent.listen(usize::MAX);
        assert_eq!(lines.len(), KEPT);
        assert_eq!((lines[0].flow.as_str(), lines[0].fields.as_str()), ("quotes", "attempt=500"));
        assert_eq!((lines[0].message.as_str(), lines[0].level.as_str()), ("said", "WARN"));
        // Who listens too slowly is told how much was missed.
        assert!(matches!(next.try_recv(), Err(broadcast::error::TryRecvError::Lagged(_))));
        assert_eq!(recent.listen(3).0.len(), 3);
    }
}
