//! The label sets that a layer holds: no more than it may, and none that is out of date.

use std::{
    cell::Cell,
    collections::HashMap,
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use super::{key::Key, set::Set, settings::Settings};

/// So that threads that look for different sets seldom meet.
const SHARDS: usize = 16;

/// How many sets are kept back, one for each scope: those of what has no room.
pub(super) const OVERFLOW_SETS: usize = 3;

#[derive(Debug)]
pub(super) struct Table {
    settings: Arc<Settings>,
    shards: [Shard; SHARDS],
    /// Locked by whoever changes what sets there are.
    growth: Mutex<Growth>,
    /// The recorder for which there is no room for another set; 0 if there is room.
    full_for: AtomicUsize,
}

type Shard = RwLock<Sets>;
type Sets = HashMap<Box<[u8]>, Arc<Set>, foldhash::fast::RandomState>;

#[derive(Debug, Default)]
struct Growth {
    /// To which all sets belong.
    recorder: usize,
    /// Whether it is there to stay, so that handles of it can be kept. `None` if that could not be
    /// found out yet.
    stays: Option<bool>,
    /// How many there are, those for what has no room not counted.
    held: usize,
}

thread_local! {
    /// Where keys are written, so that looking up a known set allocates nothing.
    static KEY: Cell<Key> = const { Cell::new(Key::new()) };
}

impl Table {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings: Arc::new(settings),
            shards: Default::default(),
            growth: Mutex::default(),
            full_for: AtomicUsize::new(0),
        }
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The set of the key that `write` writes, or the one of all that has no room.
    pub(super) fn find(
        self: &Arc<Self>,
        at: Instant,
        write: impl FnOnce(&Settings, &mut Key),
    ) -> Arc<Set> {
        self.known_or(at, write, |key, recorder| self.make(key, recorder, at))
    }

    /// The set of the key that `write` writes. If it is not known, it is one that is
    /// [not held](Set::is_held) here.
    pub(super) fn find_or_lend(
        self: &Arc<Self>,
        at: Instant,
        write: impl FnOnce(&Settings, &mut Key),
    ) -> Arc<Set> {
        self.known_or(at, write, |key, recorder| {
            if self.holds(key) {
                return self.make(key, recorder, at);
            }
            self.without_room(key, recorder, at)
                .unwrap_or_else(|| Arc::new(self.set(key, recorder, None).lent()))
        })
    }

    fn known_or(
        &self,
        at: Instant,
        write: impl FnOnce(&Settings, &mut Key),
        or: impl FnOnce(&mut Key, usize) -> Arc<Set>,
    ) -> Arc<Set> {
        // Gone if the thread is ending, and then there is nothing to spare.
        let mut key = KEY.try_with(Cell::take).unwrap_or_default();
        write(&self.settings, &mut key);
        let recorder = self.settings.source.id();
        let set = self.known(&key, recorder, at);
        let set = set.unwrap_or_else(|| or(&mut key, recorder));
        let _ = KEY.try_with(|place| place.set(key));
        set
    }

    fn shard(&self, key: &Key) -> &Shard {
        // A hash of the whole key would be its second one. Most keys differ at their ends, and a
        // shard that several threads are in costs them little.
        let word = |bytes: Option<&[u8; 8]>| bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let key = key.as_bytes();
        let ends = word(key.first_chunk()) ^ word(key.last_chunk()).rotate_left(1);
        let spread = ends.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 60;
        &self.shards[spread as usize % SHARDS]
    }

    fn read_shard(&self, key: &Key) -> RwLockReadGuard<'_, Sets> {
        let shard = self.shard(key).read();
        shard.unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self, key: &Key, recorder: usize, at: Instant) -> Option<Arc<Set>> {
        let shard = self.read_shard(key);
        let set = shard.get(key.as_bytes())?;
        set.is_of(recorder, at).then(|| Arc::clone(set))
    }

    fn holds(&self, key: &Key) -> bool {
        self.read_shard(key).contains_key(key.as_bytes())
    }

    /// The set of all that has no room, if this key has none.
    fn without_room(&self, key: &mut Key, recorder: usize, at: Instant) -> Option<Arc<Set>> {
        if self.full_for.load(Ordering::Relaxed) != recorder || self.holds(key) {
            return None;
        }
        key.overflow();
        self.known(key, recorder, at)
    }

    #[cold]
    fn make(self: &Arc<Self>, key: &mut Key, recorder: usize, at: Instant) -> Arc<Set> {
        if let Some(set) = self.without_room(key, recorder, at) {
            return set;
        }
        let mut growth = self.turned_to(recorder);
        if !key.is_overflow() && !self.holds(key) {
            if growth.held + OVERFLOW_SETS < self.settings.max_label_sets {
                growth.held += 1;
            } else {
                self.full_for.store(recorder, Ordering::Relaxed);
                key.overflow();
            }
        }
        // Another thread may have been faster.
        if let Some(set) = self.known(key, recorder, at) {
            return set;
        }
        let ttl = growth.stays.unwrap_or(false);
        let ttl = ttl.then_some(self.settings.handle_ttl);
        // Without an end if it is too far away to be told.
        let expires = ttl.map_or(Some(at), |ttl| at.checked_add(ttl));
        let set = Arc::new(self.set(key, recorder, expires));
        let shard = self.shard(key).write();
        let outdated = shard
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key.as_bytes().into(), Arc::clone(&set));
        // Handles are the recorder's: what their drop does is not done under a lock.
        drop(growth);
        drop(outdated);
        set
    }

    /// Growth, for this recorder. The sets of another are forgotten, and this one is told what the
    /// metrics mean: not under the lock, as that is the recorder's code.
    fn turned_to(&self, recorder: usize) -> MutexGuard<'_, Growth> {
        let mut found_out = None;
        loop {
            let mut growth = self.growth.lock().unwrap_or_else(PoisonError::into_inner);
            let is_same = growth.recorder == recorder;
            if is_same && growth.stays.is_some() {
                return growth;
            }
            let Some(stays) = found_out else {
                drop(growth);
                found_out = Some(self.settings.source.stays(recorder));
                continue;
            };
            growth.stays = stays;
            if is_same {
                return growth;
            }
            let forgotten = self.shards.each_ref().map(|shard| {
                let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
                mem::take(&mut *shard)
            });
            self.full_for.store(0, Ordering::Relaxed);
            (growth.recorder, growth.held) = (recorder, 0);
            drop(growth);
            drop(forgotten);
            self.settings.describe();
        }
    }

    fn set(self: &Arc<Self>, key: &Key, recorder: usize, expires: Option<Instant>) -> Set {
        let table = Arc::downgrade(self);
        Set::new(&self.settings, table, key.clone(), recorder, expires)
    }
}
