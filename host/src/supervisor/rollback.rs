//! Back to the modules that ran before. They are still in memory, so the switch is made between two batches; it holds
//! until the file of a module changes again, or until it is taken back. With a store all of this outlives the process.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use tracing::warn;

use super::{Order, Plan, Supervisor};
use crate::board::What;
use crate::runtime::Chain;

/// What ran in a flow, newest first.
pub(super) struct Past {
    /// None where it has not run since the host began.
    pub(super) current: Option<Arc<Plan>>,
    pub(super) before: Option<Arc<Plan>>,
    /// The modules that an operator has sent away, by digest, and what is to run in their place.
    pub(super) pinned: Option<(Arc<str>, Arc<Plan>)>,
    /// When that was asked for.
    pub(super) asked: Instant,
}

impl Past {
    /// When a rollback was asked for that is in force.
    pub(super) fn rolled_back(&self) -> Option<Instant> {
        self.pinned.as_ref().map(|_| self.asked)
    }

    /// The modules before those of `plan`, where they read and write the same: nothing else could be repeated by them.
    pub(super) fn before(&self, plan: &Plan) -> Option<Arc<Chain>> {
        self.before.as_ref().filter(|before| before.same_shape(plan)).map(|before| before.chain.clone())
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
        let not_yet = || format!("flow {name} has not run yet, so there is nothing to go back to");
        let past = self.past.get_mut(name).ok_or_else(not_yet)?;
        let current = past.current.clone().ok_or_else(not_yet)?;
        if let Some((away, _)) = &past.pinned {
            return Err(format!(
                "flow {name} is rolled back already, from {}; put another module in place, or take the rollback back",
                short(away)
            ));
        }
        let Some(before) = past.before.clone() else {
            let known = if self.store.is_some() { " and the store has no other" } else { "" };
            return Err(format!(
                "flow {name} has run with one build only since the host began{known}; put the build that you want into \
                 the modules folder"
            ));
        };
        let away = current.chain.digest.clone();
        past.pinned = Some((away.clone(), before.clone()));
        past.asked = asked;
        warn!(flow = name, from = %away, to = %before.chain.digest, "rolled back by an operator");
        self.reconcile();
        let (to, from) = (short(&before.chain.digest), short(&away));
        Ok(format!("flow {name} runs {to} again instead of {from}, until its module is replaced; {}", self.lasts(name)))
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

    /// What becomes of a rollback at a restart.
    fn lasts(&self, name: &str) -> &'static str {
        match (&self.store, self.unsaved.contains(name)) {
            (Some(_), false) => "the file in the folder stays as it is, also over restarts",
            (Some(_), true) => "but the store cannot be written: after a restart the file in the folder runs",
            (None, _) => {
                "after a restart the file in the folder runs: put the good build there, or set [modules] store"
            }
        }
    }

    /// Plans as they are wanted by the folder, but for flows that are rolled back from exactly that.
    pub(super) fn as_pinned(&mut self, plans: BTreeMap<String, Plan>) -> BTreeMap<String, Arc<Plan>> {
        let mut pinned = BTreeMap::new();
        for (name, plan) in plans {
            let plan = Arc::new(plan);
            if !self.past.contains_key(&name) {
                let past = self.recall(&name, &plan);
                self.past.insert(name.clone(), past);
            }
            let past = self.past.get_mut(&name);
            let instead = past.and_then(|past| match &past.pinned {
                Some((away, instead)) if **away == *plan.chain.digest => Some(instead.clone()),
                _ => {
                    past.pinned = None;
                    None
                }
            });
            pinned.insert(name, instead.unwrap_or(plan));
        }
        pinned
    }

    /// A flow runs with this plan from now on.
    pub(super) fn note_plan(&mut self, plan: &Arc<Plan>) {
        let Some(past) = self.past.get_mut(&*plan.name) else { return };
        let replaced = past.current.replace(plan.clone());
        if let Some(before) = replaced.filter(|before| before.chain.digest != plan.chain.digest) {
            past.before = Some(before);
        }
        let back = past.before.as_ref().filter(|_| past.pinned.is_none());
        let back = back.map(|before| before.chain.digest.clone());
        self.process.board.flow(&plan.name).note_before(back, past.pinned.is_some());
    }
}

/// The beginning of each digest.
fn short(digest: &str) -> String {
    digest.split('+').map(|one| &one[..one.len().min(12)]).collect::<Vec<_>>().join("+")
}
