//! Whose task is next.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BinaryHeap};

use super::turns::{Turn, Turns};
use super::{QueueKey, QueueView, UserView};
use crate::share::{UserName, Weight};

/// What somebody has running, for his weight.
#[derive(Debug, Clone, Copy)]
struct Load {
    running: u32,
    weight: Weight,
}

impl Load {
    /// The same as of a fraction, exactly.
    fn of_other(self, other: Self) -> u64 {
        u64::from(self.running) * u64::from(other.weight.get())
    }
}

impl Ord for Load {
    fn cmp(&self, other: &Self) -> Ordering {
        self.of_other(*other).cmp(&other.of_other(*self))
    }
}

impl PartialOrd for Load {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Load {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Load {}

/// The rank of a user: least load, then turn. The index makes it an order.
type UserRank = (Load, Turn, usize);
/// The rank of a queue among those of its user.
type QueueRank = (Reverse<i32>, Load, Turn, usize);

#[derive(Debug)]
struct Entrant {
    load: Load,
    /// Tasks that may still be started.
    room: u32,
    turn: Turn,
}

impl Entrant {
    fn serve(&mut self) {
        self.load.running += 1;
        self.room -= 1;
        self.turn = self.turn.next(self.load.weight);
    }
}

/// All who want slots, in the order in which they get them.
#[derive(Debug)]
pub(super) struct Contest<'a> {
    queues: &'a [QueueView],
    users: Vec<Entrant>,
    entrants: Vec<Entrant>,
    /// Of each user: the queues that may get something.
    of_user: Vec<BinaryHeap<Reverse<QueueRank>>>,
    /// Users that may get something.
    next: BinaryHeap<Reverse<UserRank>>,
}

impl<'a> Contest<'a> {
    pub(super) fn new(users: &[UserView], queues: &'a [QueueView], turns: &Turns) -> Self {
        let entrant = |user: &UserView| Entrant {
            load: Load { running: user.running, weight: user.weight },
            room: user.quota.room(user.running),
            turn: turns.of_user(&user.name),
        };
        let index: BTreeMap<&UserName, usize> = users.iter().enumerate().map(|(i, user)| (&user.name, i)).collect();
        let mut contest = Self {
            queues,
            users: users.iter().map(entrant).collect(),
            entrants: Vec::with_capacity(queues.len()),
            of_user: users.iter().map(|_| BinaryHeap::new()).collect(),
            next: BinaryHeap::new(),
        };
        for (number, queue) in queues.iter().enumerate() {
            contest.entrants.push(Entrant {
                load: Load { running: queue.running, weight: queue.weight },
                room: queue.quota.room(queue.running),
                turn: turns.of_queue(queue.key),
            });
            if let Some(user) = index.get(&queue.user) {
                contest.offer_queue(*user, number);
            }
        }
        (0..users.len()).for_each(|user| contest.offer_user(user));
        contest
    }

    fn offer_queue(&mut self, user: usize, queue: usize) {
        let Entrant { load, room, turn } = self.entrants[queue];
        if room > 0 {
            self.of_user[user].push(Reverse((Reverse(self.queues[queue].priority), load, turn, queue)));
        }
    }

    fn offer_user(&mut self, user: usize) {
        let Entrant { load, room, turn } = self.users[user];
        if room > 0 && !self.of_user[user].is_empty() {
            self.next.push(Reverse((load, turn, user)));
        }
    }

    /// The queue that gets the next slot; none if nobody may get one.
    pub(super) fn next(&self) -> Option<usize> {
        let Reverse((_, _, user)) = self.next.peek()?;
        let Reverse((_, _, _, queue)) = self.of_user[*user].peek()?;
        Some(*queue)
    }

    /// It gets it.
    pub(super) fn serve(&mut self) {
        if let Some((user, queue)) = self.leave() {
            self.users[user].serve();
            self.entrants[queue].serve();
            self.offer_queue(user, queue);
            self.offer_user(user);
        }
    }

    /// It has nothing more to start.
    pub(super) fn retire(&mut self) {
        if let Some((user, _)) = self.leave() {
            self.offer_user(user);
        }
    }

    fn leave(&mut self) -> Option<(usize, usize)> {
        let Reverse((_, _, user)) = self.next.pop()?;
        let Reverse((_, _, _, queue)) = self.of_user[user].pop()?;
        Some((user, queue))
    }
}

/// Of which queues how much has to be seen so that [`super::decide`] can fill so many slots; nothing where enough is seen already.
///
/// The sum is at most `slots`, however many queues there are and however much waits in them. What comes back short is to be marked so
/// ([`QueueView::more`]), and asked again.
pub fn wanted(users: &[UserView], queues: &[QueueView], turns: &Turns, slots: usize) -> Vec<(QueueKey, usize)> {
    let mut contest = Contest::new(users, queues, turns);
    let mut counts = vec![0; queues.len()];
    let mut given = 0;
    while given < slots
        && let Some(index) = contest.next()
    {
        if queues[index].more || counts[index] < queues[index].ready.len() {
            counts[index] += 1;
            given += 1;
            contest.serve();
        } else {
            contest.retire();
        }
    }
    let short = |(queue, count): (&QueueView, usize)| (count > queue.ready.len()).then_some((queue.key, count));
    queues.iter().zip(counts).filter_map(short).collect()
}
