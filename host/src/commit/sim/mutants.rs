//! Rules broken on purpose. The simulator must notice each, or its silence proves nothing.

use std::cell::Cell;

thread_local! {
    static ON: Cell<Option<Mutant>> = const { Cell::new(None) };
}

macro_rules! mutants {
    ($($(#[$doc:meta])* $name:ident $text:literal,)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Mutant { $($(#[$doc])* $name,)* }

        pub(super) const ALL: &[(Mutant, &str)] = &[$((Mutant::$name, $text),)*];
    };
}

mutants! {
    /// Verdicts are not kept with the rows.
    NoJournal "no_journal",
    /// SQL sinks do not compare their progress.
    NoCas "no_cas",
    /// Kafka is committed before the databases.
    KafkaFirst "kafka_first",
    /// Documents get a random id.
    MongoRandId "mongo_rand_id",
    /// After a commit without answer the rows are sent again.
    BlindRetry "blind_retry",
    /// After a transaction without answer another one is sent.
    KafkaBlindRetry "kafka_blind_retry",
    /// Offsets are sent with the generation of now.
    FreshGen "fresh_gen",
    /// Only the group says where to begin.
    IgnoreProgress "ignore_pg_wm",
    /// A verdict counts although some sink has written the record.
    LateVerdict "late_verdict",
    /// Nobody looks whether a database went back.
    NoReconnectCheck "no_reconnect_check",
    /// Offsets are read while a transaction holds others.
    UnstableFetch "unstable_fetch",
    /// Upserts overwrite what is newer.
    MongoNoGuard "mongo_no_guard",
    /// Offsets are committed before the sinks are written.
    OffsetsBeforeSinks "offsets_before_sinks",
    /// One refused output takes its siblings along.
    SkipRefusedSiblings "skip_refused_siblings",
    /// A rewind takes the group's offset along.
    LaneGoesBack "lane_goes_back",
    /// What was sealed under an older assignment is committed.
    EpochIgnored "epoch_ignored",
    /// Old decisions are read and not used.
    AdoptIgnored "adopt_ignored",
    /// Only the first SQL sink keeps what was decided.
    JournalNotPerSink "journal_not_per_sink",
    /// A host that stood still takes verdicts that are deleted for none.
    JournalTrusted "journal_trusted",
    /// Verdicts are deleted although the batch that they belong to is not committed.
    JournalCutShort "journal_cut_short",
    /// A batch that is given up is read again although the one before is not through.
    GivenUpAtOnce "given_up_at_once",
    /// Transactional flows commit offsets without a transaction where there is nothing to publish.
    PlainCommit "plain_commit",
    /// Dead letters become rows after the offsets are committed.
    DeadTableLast "dead_table_last",
    /// A partition begins where the foremost sink is.
    BeginAtFurthest "begin_at_furthest",
    /// Who is ahead does not skip what it has.
    NothingSkipped "nothing_skipped",
    /// Who begins again forgets what has left the batch.
    ForgetsRefusals "forgets_refusals",
    /// A batch of which a part was revoked goes on where it was.
    GoesOnWhenRevoked "goes_on_when_revoked",
}

pub(crate) fn is_on(mutant: Mutant) -> bool {
    ON.get() == Some(mutant)
}

pub(super) fn set(mutant: Option<Mutant>) {
    ON.set(mutant);
}
