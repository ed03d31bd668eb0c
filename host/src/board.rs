//! The board that operators look at: what each flow does right now, recent log lines and dead letters, and the few
//! things that can be asked of a running flow. Flows write to it once per batch; reading it never holds a flow up.

pub mod builds;
mod flow;
mod history;
pub mod letters;
pub mod payload;
pub mod state;
pub mod tap;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, Sender};
use tokio::sync::oneshot;

pub use self::flow::{About, BatchFigures, FlowBoard, Status};

use crate::health::Health;
use crate::logs::recent::Recent;
use crate::metrics::Metrics;
use crate::runtime::Module;

/// What the process shows of itself and what it can be asked.
pub struct Board {
    pub metrics: Arc<Metrics>,
    pub health: Arc<Health>,
    pub logs: Arc<Recent>,
    /// Name of this instance, once the host has one.
    instance: Mutex<Arc<str>>,
    flows: Mutex<BTreeMap<String, Arc<FlowBoard>>>,
    modules: Mutex<BTreeMap<String, ModuleFile>>,
    orders: (Sender<Order>, Receiver<Order>),
}

/// A file of the modules folder.
#[derive(Clone, Debug, Default)]
pub struct ModuleFile {
    /// Of the module that was taken last.
    pub digest: Option<Arc<str>>,
    /// When it was taken, in milliseconds since 1970.
    pub since: i64,
    /// Why the file as it is now was not taken.
    pub refused: Option<String>,
}

/// Something that only the supervisor can do.
pub struct Order {
    pub flow: String,
    pub what: What,
    /// Gets words about what was done, or why not.
    pub answer: oneshot::Sender<Result<String, String>>,
}

/// What can be ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Back to the modules that ran before.
    Rollback,
    /// Take a rollback back: what the folder holds runs again.
    UndoRollback,
}

impl Board {
    pub fn new(metrics: Arc<Metrics>, health: Arc<Health>, logs: Arc<Recent>) -> Arc<Self> {
        Arc::new(Board {
            metrics,
            health,
            logs,
            instance: Mutex::new("".into()),
            flows: Mutex::default(),
            modules: Mutex::default(),
            orders: crossbeam_channel::bounded(64),
        })
    }

    /// The part of one flow, which outlives restarts of the flow.
    pub fn flow(&self, name: &str) -> Arc<FlowBoard> {
        let paused = || self.metrics.flow_paused.get_or_create_owned(&crate::metrics::ByFlow { flow: name.into() });
        self.flows().entry(name.to_owned()).or_insert_with(|| Arc::new(FlowBoard::new(name, paused()))).clone()
    }

    /// The part of a flow that is there already.
    pub fn known(&self, name: &str) -> Option<Arc<FlowBoard>> {
        self.flows().get(name).cloned()
    }

    /// Every flow, by name.
    pub fn all(&self) -> Vec<Arc<FlowBoard>> {
        self.flows().values().cloned().collect()
    }

    /// A flow that does not run and is not wanted any more.
    pub fn forget(&self, name: &str) {
        self.flows().remove(name);
    }

    pub fn name_instance(&self, name: Arc<str>) {
        *self.instance.lock().unwrap_or_else(PoisonError::into_inner) = name;
    }

    fn instance(&self) -> Arc<str> {
        self.instance.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A module was taken from the folder.
    pub fn module_loaded(&self, module: &Module) {
        let file = ModuleFile { digest: Some(module.digest.clone()), since: now(), refused: None };
        self.modules().insert(module.name.to_string(), file);
    }

    pub fn module_refused(&self, stem: &str, why: String) {
        self.modules().entry(stem.to_owned()).or_default().refused = Some(why);
    }

    pub fn module_removed(&self, stem: &str) {
        self.modules().remove(stem);
    }

    /// Hands an order to the supervisor; where nobody takes it, the answer's sender is dropped.
    pub fn order(&self, flow: &str, what: What) -> oneshot::Receiver<Result<String, String>> {
        let (answer, answered) = oneshot::channel();
        drop(self.orders.0.try_send(Order { flow: flow.to_owned(), what, answer }));
        answered
    }

    /// Where the supervisor takes its orders.
    pub fn orders(&self) -> Receiver<Order> {
        self.orders.1.clone()
    }

    fn flows(&self) -> MutexGuard<'_, BTreeMap<String, Arc<FlowBoard>>> {
        self.flows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn modules(&self) -> MutexGuard<'_, BTreeMap<String, ModuleFile>> {
        self.modules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Milliseconds since 1970.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
