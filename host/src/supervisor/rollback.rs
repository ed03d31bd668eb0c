//! Back to the modules that ran before. They are still in memory, so the switch is made between two batches; it holds
//! until the file of a module changes again, or until it is taken back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use tracing::warn;

use super::{Order, Plan, Supervisor};
use crate::board::What;

/// What ran in a flow, newest first.
pub(super) struct Past {
    current: Arc<Plan>,
    before: Option<Arc<Plan>>,
    /// The modules that an operator has sent away, by digest, and what is to run in their place.
    pinned: Option<(Arc<str>, Arc<Plan>)>,
    /// When that was asked for.
    asked: Instant,
}

impl Past {
    /// When a rollback was asked for that is in force.
    pub(super) fn rolled_back(&self) -> Option<Instant> {
        self.pinned.as_ref().map(|_| self.asked)
    }
}

impl Supervisor {
    pub(super) fn obey(&mut self, order: Order) {
        let done = match order.what {
            What::Rollback => self.roll_back(&order.flow),
            What::UndoRollback => self.undo_rollback(&order.flow),
        };
        // Who asked may have gone.
        drop(order.answer.send(done));
    }

    fn roll_back(&mut self, name: &str) -> Result<String, String> {
        let asked = Instant::now();
        let Some(past) = self.past.get_mut(name) else {
            return Err(format!("flow {name} has not run yet, so there is nothing to go back to"));
        };
        if let Some((away, _)) = &past.pinned {
            return Err(format!(
                "flow {name} is rolled back already, from {}; put another module in place, or take the rollback back",
                short(away)
            ));
        }
        let Some(before) = past.before.clone() else {
            return Err(format!(
                "flow {name} has run with one build only since the host began; put the build that you want into the \
                 modules folder"
            ));
        };
        let away = past.current.chain.digest.clone();
        past.pinned = Some((away.clone(), before.clone()));
        past.asked = asked;
        warn!(flow = name, from = %away, to = %before.chain.digest, "rolled back by an operator");
        self.reconcile();
        Ok(format!(
            "flow {name} runs {} again instead of {}, until its module is replaced",
            short(&before.chain.digest),
            short(&away)
        ))
    }

    fn undo_rollback(&mut self, name: &str) -> Result<String, String> {
        let past = self.past.get_mut(name);
        let Some((back, _)) = past.and_then(|past| past.pinned.take()) else {
            return Err(format!("flow {name} is not rolled back"));
        };
        warn!(flow = name, to = %back, "an operator took a rollback back");
        self.reconcile();
        Ok(format!("flow {name} gets what the modules folder holds"))
    }

    /// Plans as they are wanted by the folder, but for flows that are rolled back from exactly that.
    pub(super) fn as_pinned(&mut self, plans: BTreeMap<String, Plan>) -> BTreeMap<String, Arc<Plan>> {
        let mut pinned = BTreeMap::new();
        for (name, plan) in plans {
            let past = self.past.get_mut(&name);
            let instead = past.and_then(|past| match &past.pinned {
                Some((away, instead)) if **away == *plan.chain.digest => Some(instead.clone()),
                _ => {
                    past.pinned = None;
                    None
                }
            });
            pinned.insert(name, instead.unwrap_or_else(|| Arc::new(plan)));
        }
        pinned
    }

    /// A flow runs with this plan from now on.
    pub(super) fn note_plan(&mut self, plan: &Arc<Plan>) {
        let name = plan.name.to_string();
        let fresh = || Past { current: plan.clone(), before: None, pinned: None, asked: Instant::now() };
        let past = self.past.entry(name.clone()).or_insert_with(fresh);
        if past.current.chain.digest != plan.chain.digest {
            past.before = Some(std::mem::replace(&mut past.current, plan.clone()));
        }
        let back = past.before.as_ref().filter(|_| past.pinned.is_none());
        let back = back.map(|before| before.chain.digest.clone());
        self.process.board.flow(&name).note_before(back, past.pinned.is_some());
    }
}

/// The beginning of each digest.
fn short(digest: &str) -> String {
    digest.split('+').map(|one| &one[..one.len().min(12)]).collect::<Vec<_>>().join("+")
}
