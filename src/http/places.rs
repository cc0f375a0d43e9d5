//! The places for connections. Readers have most of them; some are reserved, so that a connection is
//! always accepted and its first request read: a probe is answered there, any other request only if a
//! reader gives way. Nothing here waits, and nothing is asked of a client.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long a connection keeps its place among the readers before its first request's head is whole,
/// if the place is wanted. A burst's requests are read before that.
const ARRIVES_WITHIN: Duration = Duration::from_secs(1);

/// How many connections there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Capacity {
    /// Connections that may ask for anything and stay.
    pub(super) readers: usize,
    /// Connections beyond them, closed after their first answer.
    pub(super) reserved: usize,
}

/// What a connection does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No request has been read yet.
    Arrived(Instant),
    /// A request is being answered.
    Asks,
    /// It was answered, and the next request has not been read.
    Idle(Instant),
}

struct Connection {
    state: State,
    leave: CancellationToken,
}

/// All places of a listener.
pub(super) struct Places {
    capacity: Capacity,
    taken: Mutex<Taken>,
}

/// Connections by number; a lower number came earlier.
#[derive(Default)]
struct Taken {
    next: u64,
    readers: BTreeMap<u64, Connection>,
    reserved: BTreeMap<u64, Connection>,
}

/// One connection's place, given back when it is dropped.
pub(super) struct Place {
    number: u64,
    is_reserved: bool,
    leave: CancellationToken,
    places: Arc<Places>,
}

impl Places {
    /// Places for so many connections.
    pub(super) fn new(capacity: Capacity) -> Self {
        Self {
            capacity,
            taken: Mutex::default(),
        }
    }

    /// A place for a new connection: a free one, that of the reader who has been idle longest, or a
    /// reserved one, which the connection that came into it first leaves if there is no other.
    pub(super) fn take(self: &Arc<Self>) -> Place {
        let mut taken = self.taken();
        let number = taken.next;
        taken.next += 1;
        let leave = CancellationToken::new();
        let connection = Connection {
            state: State::Arrived(Instant::now()),
            leave: leave.clone(),
        };
        let is_reserved = !taken.has_room(self.capacity.readers);
        if is_reserved {
            while taken.reserved.len() >= self.capacity.reserved
                && let Some((_, oldest)) = taken.reserved.pop_first()
            {
                oldest.leave.cancel();
            }
            taken.reserved.insert(number, connection);
        } else {
            taken.readers.insert(number, connection);
        }
        Place {
            number,
            is_reserved,
            leave,
            places: Arc::clone(self),
        }
    }

    /// Closes the connection of the reader who has been idle longest, if there is one.
    pub(super) fn close_one(&self) {
        let mut taken = self.taken();
        if let Some(number) = taken.longest_idle() {
            taken.close(number);
        }
    }

    /// Closes every connection that no request is being answered on.
    pub(super) fn close_idle(&self) {
        let taken = self.taken();
        let all = taken.readers.values().chain(taken.reserved.values());
        all.filter(|connection| connection.state != State::Asks)
            .for_each(|connection| connection.leave.cancel());
    }

    /// Closes every connection.
    pub(super) fn close_all(&self) {
        let taken = self.taken();
        let all = taken.readers.values().chain(taken.reserved.values());
        all.for_each(|connection| connection.leave.cancel());
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock()
    }
}

impl Taken {
    /// Whether one more reader fits into `capacity`, if need be instead of an idle one.
    fn has_room(&mut self, capacity: usize) -> bool {
        if self.readers.len() < capacity {
            return true;
        }
        let Some(number) = self.longest_idle() else {
            return false;
        };
        self.close(number);
        true
    }

    fn longest_idle(&self) -> Option<u64> {
        let idle = self.readers.iter().filter_map(|(number, connection)| {
            let since = match connection.state {
                State::Asks => return None,
                State::Arrived(at) if at.elapsed() < ARRIVES_WITHIN => return None,
                State::Arrived(at) | State::Idle(at) => at,
            };
            Some((since, *number))
        });
        idle.min().map(|(_, number)| number)
    }

    fn close(&mut self, number: u64) {
        if let Some(connection) = self.readers.remove(&number) {
            connection.leave.cancel();
        }
    }
}

impl Place {
    /// Whether the connection is to be closed after its first answer.
    pub(super) fn is_reserved(&self) -> bool {
        self.is_reserved
    }

    /// Resolves when another connection has taken the place.
    pub(super) async fn lost(&self) {
        self.leave.cancelled().await;
    }

    /// A request has been read.
    pub(super) fn asks(&self) {
        self.is(State::Asks);
    }

    /// The request is answered.
    pub(super) fn idles(&self) {
        self.is(State::Idle(Instant::now()));
    }

    /// Makes the connection a reader's; `false`: it is not one, and all readers are busy.
    pub(super) fn becomes_reader(&self) -> bool {
        let mut taken = self.places.taken();
        if taken.readers.contains_key(&self.number) {
            return true;
        }
        if !taken.reserved.contains_key(&self.number)
            || !taken.has_room(self.places.capacity.readers)
        {
            return false;
        }
        if let Some(connection) = taken.reserved.remove(&self.number) {
            taken.readers.insert(self.number, connection);
        }
        true
    }

    fn is(&self, state: State) {
        let mut taken = self.places.taken();
        let Taken {
            readers, reserved, ..
        } = &mut *taken;
        let connection = readers.get_mut(&self.number);
        if let Some(connection) = connection.or_else(|| reserved.get_mut(&self.number)) {
            connection.state = state;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.readers.remove(&self.number);
        taken.reserved.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(readers: usize, reserved: usize) -> Arc<Places> {
        Arc::new(Places::new(Capacity { readers, reserved }))
    }

    fn is_lost(place: &Place) -> bool {
        place.leave.is_cancelled()
    }

    #[tokio::test(start_paused = true)]
    async fn the_reader_idle_longest_gives_way_and_who_asks_does_not() {
        let places = places(3, 1);
        let [first, second, third] = [(); 3].map(|()| places.take());
        for place in [&first, &second, &third] {
            place.asks();
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        let fourth = places.take();
        assert!(fourth.is_reserved(), "all ask");
        third.idles();
        tokio::time::advance(Duration::from_millis(1)).await;
        second.idles();
        let fifth = places.take();
        assert!(!fifth.is_reserved() && is_lost(&third));
        assert!(fourth.becomes_reader() && is_lost(&second));
        assert!(!is_lost(&first) && !is_lost(&fourth) && !is_lost(&fifth));
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_gives_way_as_soon_as_it_is_idle_and_the_place_is_wanted_once() {
        let places = places(1, 2);
        let reader = places.take();
        reader.asks();
        let [earlier, later] = [(); 2].map(|()| places.take());
        assert!(!earlier.becomes_reader() && !later.becomes_reader());
        reader.idles();
        assert!(later.becomes_reader() && is_lost(&reader));
        later.asks();
        assert!(!earlier.becomes_reader());
        reader.idles();
        assert!(!earlier.becomes_reader(), "a lost place is lost");
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_read_before_its_connections_count_as_idle() {
        let places = places(2, 1);
        let [first, second] = [(); 2].map(|()| places.take());
        let third = places.take();
        assert!(third.is_reserved() && !is_lost(&first) && !is_lost(&second));
        tokio::time::advance(ARRIVES_WITHIN).await;
        let fourth = places.take();
        assert!(!fourth.is_reserved() && is_lost(&first) && !is_lost(&second));
    }

    #[tokio::test(start_paused = true)]
    async fn of_the_reserved_places_the_oldest_is_left_for_a_new_connection() {
        let places = places(1, 2);
        let reader = places.take();
        reader.asks();
        let [first, second, third] = [(); 3].map(|()| places.take());
        assert!(is_lost(&first) && !is_lost(&second) && !is_lost(&third));
        drop(second);
        let fourth = places.take();
        assert!(!is_lost(&third) && !is_lost(&fourth) && !is_lost(&reader));
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_is_given_back_when_it_is_dropped() {
        let places = places(1, 1);
        for _ in 0..3 {
            let reader = places.take();
            reader.asks();
            assert!(!reader.is_reserved());
        }
        let reader = places.take();
        reader.asks();
        let reserved = places.take();
        assert!(reserved.is_reserved());
        drop(reader);
        assert!(reserved.becomes_reader());
        drop(reserved);
        assert!(!places.take().is_reserved());
    }
}
