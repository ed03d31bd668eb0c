//! A model of the cluster: transactions, output topics, the consumer group.

use super::plan::MOST;
use super::rng::Rng;
use super::sinks::Id;

/// What was sent to a topic.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) what: Sent,
    transaction: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    Output(Id),
    /// Partition, offset, path.
    Letter(usize, i64, String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Committed,
    Aborted,
}

/// Another epoch has the transactional id, or the coordinator has ended the transaction.
pub(super) struct Fenced;

#[derive(Default)]
struct Producer {
    id: u32,
    epoch: u32,
    /// The open transaction, with its offsets by partition.
    open: Option<(usize, Vec<(usize, i64)>)>,
}

#[derive(Default)]
pub(super) struct Kafka {
    log: Vec<Entry>,
    transactions: Vec<State>,
    producers: Vec<Producer>,
    pub(super) committed: [Option<i64>; MOST],
}

impl Kafka {
    /// Registers a producer: ends what its predecessor left open.
    pub(super) fn init(&mut self, id: u32) -> u32 {
        let index = match self.producers.iter().position(|producer| producer.id == id) {
            Some(index) => index,
            None => {
                self.producers.push(Producer { id, ..Producer::default() });
                self.producers.len() - 1
            }
        };
        self.end(index, State::Aborted);
        self.producers[index].epoch += 1;
        self.producers[index].epoch
    }

    /// Sends in a transaction, which is begun if it is not open.
    pub(super) fn send(&mut self, id: u32, epoch: u32, what: impl Iterator<Item = Sent>) -> Result<(), Fenced> {
        let producer = self.producer(id, epoch)?;
        let transaction = match &self.producers[producer].open {
            Some((transaction, _)) => *transaction,
            None => {
                self.transactions.push(State::Open);
                self.producers[producer].open = Some((self.transactions.len() - 1, Vec::new()));
                self.transactions.len() - 1
            }
        };
        self.log.extend(what.map(|what| Entry { what, transaction }));
        Ok(())
    }

    /// Sends without a transaction.
    pub(super) fn send_plain(&mut self, what: Sent) {
        self.transactions.push(State::Committed);
        self.log.push(Entry { what, transaction: self.transactions.len() - 1 });
    }

    pub(super) fn add_offsets(&mut self, id: u32, epoch: u32, offsets: &[(usize, i64)]) -> Result<(), Fenced> {
        let producer = self.producer(id, epoch)?;
        let (_, held) = self.producers[producer].open.as_mut().ok_or(Fenced)?;
        held.extend(offsets);
        Ok(())
    }

    pub(super) fn commit(&mut self, id: u32, epoch: u32) -> Result<(), Fenced> {
        let producer = self.producer(id, epoch)?;
        self.producers[producer].open.as_ref().ok_or(Fenced)?;
        self.end(producer, State::Committed);
        Ok(())
    }

    pub(super) fn abort(&mut self, id: u32, epoch: u32) -> Result<(), Fenced> {
        let producer = self.producer(id, epoch)?;
        self.end(producer, State::Aborted);
        Ok(())
    }

    /// The coordinator gives up on open transactions.
    pub(super) fn time_out(&mut self) {
        for producer in 0..self.producers.len() {
            if self.producers[producer].open.is_some() {
                self.end(producer, State::Aborted);
                self.producers[producer].epoch += 1;
            }
        }
    }

    /// The committed offset, unless a transaction is about to change it.
    pub(super) fn stable(&self, partition: usize) -> Option<Option<i64>> {
        let holds = |(_, offsets): &(usize, Vec<(usize, i64)>)| offsets.iter().any(|(p, _)| *p == partition);
        let pending = self.producers.iter().any(|producer| producer.open.as_ref().is_some_and(holds));
        (!pending || mutant!(UnstableFetch)).then_some(self.committed[partition])
    }

    /// What a reader of committed records sees.
    pub(super) fn visible(&self) -> impl Iterator<Item = &Sent> {
        let committed = |entry: &&Entry| self.transactions[entry.transaction] == State::Committed;
        self.log.iter().filter(committed).map(|entry| &entry.what)
    }

    fn producer(&self, id: u32, epoch: u32) -> Result<usize, Fenced> {
        self.producers.iter().position(|producer| producer.id == id && producer.epoch == epoch).ok_or(Fenced)
    }

    fn end(&mut self, producer: usize, state: State) {
        if let Some((transaction, offsets)) = self.producers[producer].open.take() {
            self.transactions[transaction] = state;
            if state == State::Committed {
                offsets.into_iter().for_each(|(partition, offset)| self.committed[partition] = Some(offset));
            }
        }
    }
}

/// The consumer group with cooperative rebalancing: a partition changes hands when its owner has let it go, or is gone.
#[derive(Default)]
pub(super) struct Group {
    pub(super) generation: u32,
    pub(super) owner: [Option<usize>; MOST],
    /// Who is to have it next.
    pub(super) target: [Option<usize>; MOST],
    /// The process that is a member, by host.
    members: [Option<u32>; MOST],
    partitions: usize,
}

impl Group {
    pub(super) fn new(partitions: usize) -> Self {
        Group { partitions, ..Group::default() }
    }

    pub(super) fn has(&self, host: usize, process: u32) -> bool {
        self.members[host] == Some(process)
    }

    /// Whether the coordinator takes offsets of this member and generation. It does not look at partitions.
    pub(super) fn accepts(&self, host: usize, process: u32, generation: u32) -> bool {
        self.has(host, process) && self.generation == generation
    }

    pub(super) fn join(&mut self, host: usize, process: u32, rng: &mut Rng) {
        self.members[host] = Some(process);
        self.drop_of(host, rng);
    }

    /// The session of a member is over.
    pub(super) fn expire(&mut self, host: usize, rng: &mut Rng) {
        if self.members[host].take().is_some() {
            self.drop_of(host, rng);
        }
    }

    /// Decides that a partition is to go to another member.
    pub(super) fn hand_over(&mut self, partition: usize, rng: &mut Rng) {
        self.target[partition] = self.any(rng);
        self.generation += 1;
    }

    /// The owner has let go.
    pub(super) fn release(&mut self, partition: usize, rng: &mut Rng) {
        let target = self.target[partition].take().filter(|target| self.members[*target].is_some());
        self.owner[partition] = target.or_else(|| self.any(rng));
        self.generation += 1;
    }

    fn drop_of(&mut self, host: usize, rng: &mut Rng) {
        self.generation += 1;
        for partition in 0..self.partitions {
            if self.owner[partition].is_none_or(|owner| owner == host) {
                self.target[partition] = None;
                self.owner[partition] = self.any(rng);
            }
        }
    }

    fn any(&self, rng: &mut Rng) -> Option<usize> {
        let members: Vec<usize> = (0..MOST).filter(|host| self.members[*host].is_some()).collect();
        (!members.is_empty()).then(|| members[rng.below(members.len())])
    }
}
