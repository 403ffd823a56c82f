//! Scenarios: what an installation looks like, what its users do, and what goes wrong.
//!
//! Each number is small enough for thousands of runs and large enough that every fault of the scenario
//! happens in most of them; a test looks at the counts.

use crate::clock::Ms;
use crate::faults::{LATE_MAX, Rates};
use crate::plan::BACK_MAX;

/// How the jobs of users behave, in parts of their sum.
#[derive(Debug, Clone, Copy)]
pub struct Mix {
    /// Short and fine.
    pub good: u32,
    /// Longer than a lease.
    pub long: u32,
    /// Fine after a failure or two.
    pub flaky: u32,
    /// Fails for good.
    pub broken: u32,
    /// Fails as a danger to workers.
    pub deadly: u32,
    /// Kills its worker.
    pub poison: u32,
}

/// One kind of run.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// Producers.
    pub producers: usize,
    /// Workers.
    pub workers: usize,
    /// Attempts at the same time in each.
    pub slots: usize,
    /// Schedulers.
    pub schedulers: usize,
    /// Replayers of dead letters.
    pub replayers: usize,
    /// One process does it all, with a broker in its memory.
    pub embedded: bool,
    /// Tenants.
    pub tenants: usize,
    /// Submissions of users.
    pub submissions: u32,
    /// Messages that other programs publish straight onto the broker.
    pub foreign: u32,
    /// Cancellations.
    pub cancels: u32,
    /// Whether some jobs wait for a time and some have a deadline.
    pub timed: bool,
    /// Whether schedules fire.
    pub cron: bool,
    /// Whether the chaos comes with a flood on the most urgent lane.
    pub flood: bool,
    /// Whether users go on submitting until the end.
    pub traffic: bool,
    /// How jobs behave.
    pub mix: Mix,
    /// How long things go wrong.
    pub chaos: Ms,
    /// Simulated time within which everything settles once the chaos is over. Most of it is for a poison
    /// job: six leases and the back-off between them.
    pub settle_max: Ms,
    /// After how long a confirmed publication is looked at again at first. The product's time only makes runs
    /// longer where nothing depends on it.
    pub look_again: Ms,
    /// What goes wrong by chance.
    pub rates: Rates,
    /// Messages the broker holds at most.
    pub messages_max: usize,
    /// Times the broker's data is replaced by none.
    pub wipes: u32,
    /// Times a part of it is gone, or acknowledged messages come back.
    pub relapses: u32,
    /// Times a side cannot be reached.
    pub outages: u32,
    /// Times the model cannot be reached.
    pub model_outages: u32,
    /// Processes asked to stop, as in a rolling upgrade.
    pub halts: u32,
    /// Times the store's clock is set.
    pub clock_steps: u32,
    /// Whether kills may add up to a dead letter of a job that has done no harm.
    pub innocents_may_die: bool,
}

const GOOD: Mix = Mix { good: 12, long: 1, flaky: 3, broken: 1, deadly: 0, poison: 0 };

const BASE: Scenario = Scenario {
    name: "calm",
    producers: 2,
    workers: 2,
    slots: 2,
    schedulers: 2,
    replayers: 0,
    embedded: false,
    tenants: 2,
    submissions: 12,
    foreign: 2,
    cancels: 0,
    timed: false,
    cron: false,
    flood: false,
    traffic: false,
    mix: GOOD,
    chaos: 60_000,
    settle_max: 15 * 60_000,
    look_again: 60_000,
    rates: Rates {
        killed: 0,
        frozen: 0,
        refused: 0,
        answer_lost: 0,
        vanished: 0,
        late: 0,
        message_lost: 0,
        duplicated: 0,
        reordered: 0,
        redelivered: 0,
    },
    messages_max: 10_000,
    wipes: 0,
    relapses: 0,
    outages: 0,
    model_outages: 0,
    halts: 0,
    clock_steps: 0,
    innocents_may_die: false,
};

impl Scenario {
    /// When the calendar is paused: late enough that a scheduler that was frozen at the end of the chaos has
    /// come to and fired. Before it a run is not over.
    pub fn over_at(&self) -> Ms {
        let calendar = if self.cron { 75_000 } else { 0 };
        self.chaos + calendar + Ms::from(self.clock_steps) * BACK_MAX
    }

    /// How long the run goes on behind its end, so that what comes late does no harm either.
    pub fn linger(&self) -> Ms {
        if self.rates.late > 0 { LATE_MAX } else { 5_000 }
    }

    /// All.
    pub const ALL: [Scenario; 16] = [
        Self::CALM,
        Self::KILLS,
        Self::FREEZES,
        Self::ANSWERS,
        Self::BROKER,
        Self::WIPED,
        Self::CLOCKS,
        Self::LEADERS,
        Self::POISON,
        Self::USERS,
        Self::LANES,
        Self::EMBEDDED,
        Self::STORM,
        Self::BUSY,
        Self::THAWED,
        Self::COMPANY,
    ];

    /// Nothing goes wrong.
    pub const CALM: Scenario = BASE;

    /// Any process is killed between any two steps.
    pub const KILLS: Scenario = Scenario {
        name: "kills",
        rates: Rates { killed: 450, ..BASE.rates },
        innocents_may_die: true,
        ..BASE
    };

    /// Processes stand still, half of the time longer than their leases.
    pub const FREEZES: Scenario = Scenario {
        name: "freezes",
        rates: Rates { frozen: 350, ..BASE.rates },
        cron: true,
        chaos: 130_000,
        innocents_may_die: true,
        ..BASE
    };

    /// Calls are refused, vanish, take effect without an answer or long after; sides go away.
    pub const ANSWERS: Scenario = Scenario {
        name: "answers",
        rates: Rates { refused: 30, answer_lost: 40, vanished: 10, late: 20, ..BASE.rates },
        outages: 2,
        innocents_may_die: true,
        ..BASE
    };

    /// The broker loses, repeats, reorders, is full, forgets and remembers.
    pub const BROKER: Scenario = Scenario {
        name: "broker",
        rates: Rates { message_lost: 60, duplicated: 150, reordered: 300, redelivered: 100, ..BASE.rates },
        messages_max: 24,
        wipes: 1,
        relapses: 2,
        submissions: 14,
        ..BASE
    };

    /// The broker's data is gone, and what tells is the broker itself: the rows alone would tell too late.
    pub const WIPED: Scenario = Scenario {
        name: "wiped",
        wipes: 1,
        mix: Mix { good: 1, long: 0, flaky: 0, broken: 0, deadly: 0, poison: 0 },
        look_again: 600_000,
        settle_max: 120_000,
        ..BASE
    };

    /// The clocks of processes are hours off, the store's is set forward and back, and summer time begins.
    pub const CLOCKS: Scenario = Scenario {
        name: "clocks",
        cron: true,
        clock_steps: 2,
        timed: true,
        chaos: 130_000,
        foreign: 0,
        innocents_may_die: true,
        ..BASE
    };

    /// Three schedulers and two replayers get in each other's way.
    pub const LEADERS: Scenario = Scenario {
        name: "leaders",
        schedulers: 3,
        replayers: 2,
        cron: true,
        mix: Mix { broken: 6, ..GOOD },
        rates: Rates { frozen: 250, killed: 80, answer_lost: 20, ..BASE.rates },
        chaos: 150_000,
        innocents_may_die: true,
        ..BASE
    };

    /// Some jobs kill their workers.
    pub const POISON: Scenario = Scenario {
        name: "poison",
        mix: Mix { good: 12, long: 3, flaky: 2, broken: 1, deadly: 1, poison: 2 },
        ..BASE
    };

    /// Users cancel, operators replay, processes are upgraded one by one, jobs have their times.
    pub const USERS: Scenario = Scenario {
        name: "users",
        cancels: 8,
        replayers: 1,
        halts: 8,
        model_outages: 2,
        timed: true,
        mix: Mix { good: 8, long: 4, flaky: 4, broken: 3, deadly: 1, poison: 0 },
        rates: Rates { answer_lost: 10, ..BASE.rates },
        chaos: 120_000,
        ..BASE
    };

    /// A flood on the most urgent lane.
    pub const LANES: Scenario = Scenario {
        name: "lanes",
        workers: 1,
        flood: true,
        foreign: 0,
        submissions: 8,
        mix: Mix { good: 1, long: 0, flaky: 0, broken: 0, deadly: 0, poison: 0 },
        ..BASE
    };

    /// All roles in one process, the broker in its memory.
    pub const EMBEDDED: Scenario = Scenario {
        name: "embedded",
        embedded: true,
        producers: 0,
        workers: 0,
        schedulers: 0,
        rates: Rates { killed: 150, answer_lost: 10, ..BASE.rates },
        cron: true,
        chaos: 130_000,
        innocents_may_die: true,
        ..BASE
    };

    /// Everything at once.
    pub const STORM: Scenario = Scenario {
        name: "storm",
        schedulers: 3,
        replayers: 2,
        cancels: 4,
        timed: true,
        cron: true,
        mix: Mix { good: 12, long: 2, flaky: 3, broken: 2, deadly: 1, poison: 1 },
        rates: Rates {
            killed: 120,
            frozen: 120,
            refused: 10,
            answer_lost: 15,
            vanished: 4,
            late: 8,
            message_lost: 20,
            duplicated: 60,
            reordered: 100,
            redelivered: 30,
        },
        messages_max: 40,
        wipes: 1,
        relapses: 1,
        outages: 1,
        halts: 3,
        model_outages: 1,
        clock_steps: 1,
        chaos: 120_000,
        innocents_may_die: true,
        ..BASE
    };

    /// Messages are lost while the broker is never empty.
    pub const BUSY: Scenario = Scenario {
        name: "busy",
        traffic: true,
        settle_max: 240_000,
        rates: Rates { message_lost: 80, ..BASE.rates },
        ..BASE
    };

    /// Fires that take effect long after they were decided on, by schedulers that stand still now and then.
    pub const THAWED: Scenario = Scenario {
        name: "thawed",
        schedulers: 3,
        cron: true,
        clock_steps: 4,
        submissions: 1,
        foreign: 0,
        rates: Rates { frozen: 500, late: 60, ..BASE.rates },
        chaos: 150_000,
        innocents_may_die: true,
        ..BASE
    };

    /// Poison in an installation of one worker, where nobody else may die of it.
    pub const COMPANY: Scenario = Scenario {
        name: "company",
        workers: 1,
        slots: 4,
        // Each of several poison jobs kills the one worker six times, and one after the other.
        settle_max: 60 * 60_000,
        mix: Mix { good: 6, long: 4, flaky: 0, broken: 0, deadly: 0, poison: 2 },
        ..BASE
    };
}
