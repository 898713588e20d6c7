//! Read-copy-update cells: readers follow a pointer, writers replace it, the old value is freed when no reader can see it.
//!
//! This and `jit` are the only parts of the packet path with `unsafe`. A packet reads about a dozen such cells; the safe alternatives
//! (a lock, or a reference count taken and dropped around every read) cost it 5 to 20 ns each, a cell costs one load.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Proof that the current thread may read [`Rcu`] cells. Values read live as long as the pin.
///
/// Taking one costs a few nanoseconds; hold it for one packet or one control operation, not longer.
pub struct Pin(crossbeam_epoch::Guard);

/// Enters a read section of the process-wide epoch.
pub fn pin() -> Pin {
    Pin(crossbeam_epoch::pin())
}

/// Waits until every pin taken before is gone; false when that takes longer than `limit`. The caller must hold no pin.
pub fn synchronize(limit: Duration) -> bool {
    let gone = Arc::new(AtomicBool::new(false));
    let flag = gone.clone();
    pin().0.defer(move || flag.store(true, Ordering::Release));
    let end = Instant::now() + limit;
    loop {
        // Also moves the epoch on, as far as the pins of others allow.
        pin().0.flush();
        if gone.load(Ordering::Acquire) {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::yield_now();
    }
}

/// What a slot of an open-addressing table holds.
pub enum Probe<'g, T> {
    /// Never used: a probe sequence ends here.
    Empty,
    /// Deleted: a probe sequence goes on.
    Buried,
    /// A value.
    Full(&'g T),
}

/// A cell with an optional `Arc<T>`, read without waiting. In memory it is the address, or zero.
#[repr(transparent)]
pub struct Rcu<T> {
    ptr: AtomicPtr<T>,
    _owns: PhantomData<Arc<T>>,
}

/// The address that marks a deleted slot. `T` is always larger than a byte, so no value lives there.
fn tomb<T>() -> *mut T {
    ptr::without_provenance_mut(1)
}

impl<T: Send + Sync + 'static> Rcu<T> {
    /// A cell with nothing in it.
    pub const fn empty() -> Self {
        const { assert!(align_of::<T>() > 1) }
        Rcu { ptr: AtomicPtr::new(ptr::null_mut()), _owns: PhantomData }
    }

    /// A cell that holds `value`.
    pub fn new(value: Arc<T>) -> Self {
        let cell = Self::empty();
        cell.ptr.store(Arc::into_raw(value).cast_mut(), Ordering::Release);
        cell
    }

    /// The value, if there is one.
    #[inline]
    pub fn load<'g>(&'g self, pin: &'g Pin) -> Option<&'g T> {
        match self.probe(pin) {
            Probe::Full(value) => Some(value),
            _ => None,
        }
    }

    /// The value, or in which way the slot is empty.
    #[inline]
    pub fn probe<'g>(&'g self, _pin: &'g Pin) -> Probe<'g, T> {
        let ptr = self.ptr.load(Ordering::Acquire);
        if ptr.is_null() {
            Probe::Empty
        } else if ptr == tomb() {
            Probe::Buried
        } else {
            // SAFETY: the pointer came from Arc::into_raw, and the reference the cell owns is given up only through
            // `retire`, which waits until every pin taken before the replacement (ours among them) is gone.
            Probe::Full(unsafe { &*ptr })
        }
    }

    /// A counted reference to the value.
    pub fn get(&self, pin: &Pin) -> Option<Arc<T>> {
        self.load(pin).map(|value| {
            let ptr: *const T = value;
            // SAFETY: the value is alive for the pin (see `probe`) and is inside an Arc.
            unsafe {
                Arc::increment_strong_count(ptr);
                Arc::from_raw(ptr)
            }
        })
    }

    /// Replaces the value; readers see the old one or the new one.
    pub fn set(&self, value: Option<Arc<T>>, pin: &Pin) {
        let new = value.map_or(ptr::null_mut(), |value| Arc::into_raw(value).cast_mut());
        self.retire(self.ptr.swap(new, Ordering::AcqRel), pin);
    }

    /// Removes the value and marks the slot deleted.
    pub fn bury(&self, pin: &Pin) {
        self.retire(self.ptr.swap(tomb(), Ordering::AcqRel), pin);
    }

    fn retire(&self, old: *mut T, pin: &Pin) {
        if old.is_null() || old == tomb() {
            return;
        }
        // SAFETY: `old` came from Arc::into_raw and was just taken out of the cell, so this reference is ours alone; the
        // drop runs after all pins that could have read it. T is Send, so any thread may run it.
        unsafe { pin.0.defer_unchecked(move || drop(Arc::from_raw(old))) }
    }
}

/// When a structure of cells last changed, so that readers may remember what they found in it.
///
/// Every change of every structure has a number of its own. Whoever takes a value out of the structure says so by
/// [`Changes::note`] behind it, with the pin that the value was retired under still held.
pub struct Changes(AtomicU64);

static NEXT_CHANGE: AtomicU64 = AtomicU64::new(1);

impl Changes {
    pub fn new() -> Self {
        Changes(AtomicU64::new(NEXT_CHANGE.fetch_add(1, Ordering::Relaxed)))
    }

    /// Says that values came or went.
    pub fn note(&self, _pin: &Pin) {
        self.0.store(NEXT_CHANGE.fetch_add(1, Ordering::Relaxed), Ordering::Release);
    }

    /// The last change; to be read before the look-up whose result is remembered.
    #[inline]
    pub fn last(&self, _pin: &Pin) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

impl Default for Changes {
    fn default() -> Self {
        Self::new()
    }
}

/// What a look-up found, remembered beyond its pin.
pub struct Found<T> {
    value: *const T,
    change: u64,
}

// SAFETY: the pointer is followed in `again` only, as a shared reference.
unsafe impl<T: Sync> Send for Found<T> {}

impl<T> Found<T> {
    /// `change` is [`Changes::last`] from before the look-up.
    #[inline]
    pub fn new(value: Option<&T>, change: u64) -> Self {
        Found { value: value.map_or(ptr::null(), ptr::from_ref), change }
    }

    /// The same again, if nothing has changed since. `last` is [`Changes::last`] under `pin`.
    #[inline]
    pub fn again<'g>(&self, last: u64, _pin: &'g Pin) -> Option<Option<&'g T>> {
        if last != self.change {
            return None;
        }
        // SAFETY: no change was noted since the look-up, so the value, if it was taken out at all, was taken out under a pin
        // that is still held or was given up after ours was taken; either way it is freed after our pin is gone.
        Some(unsafe { self.value.as_ref() })
    }
}

impl<T> Default for Found<T> {
    /// Of before all changes.
    fn default() -> Self {
        Found { value: ptr::null(), change: 0 }
    }
}

/// An array of cells that can hand all its values to another array at once.
///
/// Growing a table must not cost packets anything: the old array is freed by whichever thread is last, which may be one that
/// forwards packets, so freeing it must not touch every value.
pub struct RcuSlice<T: Send + Sync + 'static> {
    cells: ManuallyDrop<Box<[Rcu<T>]>>,
    /// Whether the references belong to this array; false after [`RcuSlice::move_into`].
    owned: AtomicBool,
}

impl<T: Send + Sync + 'static> RcuSlice<T> {
    pub fn new(len: usize) -> Self {
        let cells: Box<[Rcu<T>]> = (0..len).map(|_| Rcu::empty()).collect();
        RcuSlice { cells: ManuallyDrop::new(cells), owned: AtomicBool::new(true) }
    }

    /// Moves every value to the cell of `to` that `place` names; readers of this array still find it there.
    ///
    /// Returns how many were moved. Must be called by the only writer, and nothing may be written here afterwards.
    pub fn move_into(&self, to: &RcuSlice<T>, pin: &Pin, mut place: impl FnMut(&T) -> usize) -> usize {
        self.owned.store(false, Ordering::Release);
        let mut moved = 0;
        for cell in self.cells.iter() {
            if let Some(value) = cell.load(pin) {
                let target = &to.cells[place(value)];
                target.ptr.store(ptr::from_ref(value).cast_mut(), Ordering::Release);
                moved += 1;
            }
        }
        moved
    }
}

impl<T: Send + Sync + 'static> std::ops::Deref for RcuSlice<T> {
    type Target = [Rcu<T>];
    fn deref(&self) -> &[Rcu<T>] {
        &self.cells
    }
}

impl<T: Send + Sync + 'static> Drop for RcuSlice<T> {
    fn drop(&mut self) {
        // SAFETY: this is the drop, nothing uses the cells afterwards.
        let cells = unsafe { ManuallyDrop::take(&mut self.cells) };
        if !*self.owned.get_mut() {
            // SAFETY: MaybeUninit has the cells' layout. The references belong to the array that the values moved to, so
            // the memory is freed and the cells are not dropped.
            drop(unsafe { Box::from_raw(Box::into_raw(cells) as *mut [MaybeUninit<Rcu<T>>]) });
        }
    }
}

impl<T: Send + Sync + 'static> Default for Rcu<T> {
    fn default() -> Self {
        Self::empty()
    }
}

impl<T> Drop for Rcu<T> {
    fn drop(&mut self) {
        let ptr = *self.ptr.get_mut();
        if !ptr.is_null() && ptr != tomb() {
            // SAFETY: exclusive access, so no reader holds the cell; the reference is the cell's own.
            drop(unsafe { Arc::from_raw(ptr) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    static ALIVE: AtomicUsize = AtomicUsize::new(0);
    struct Counted(u64);
    impl Counted {
        fn new(value: u64) -> Arc<Self> {
            ALIVE.fetch_add(1, SeqCst);
            Arc::new(Counted(value))
        }
    }
    impl Drop for Counted {
        fn drop(&mut self) {
            ALIVE.fetch_sub(1, SeqCst);
        }
    }

    #[test]
    fn synchronize_waits_for_earlier_pins_only() {
        let held = pin();
        let (entered, wait) = (AtomicBool::new(false), Duration::from_secs(10));
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                assert!(!synchronize(Duration::from_millis(5)), "a pin is held");
                entered.store(true, SeqCst);
                synchronize(wait)
            });
            while !entered.load(SeqCst) {
                std::thread::yield_now();
            }
            drop(held);
            assert!(waiter.join().unwrap());
        });
    }

    #[test]
    fn a_replaced_value_outlives_its_readers_and_is_freed() {
        let cell = Rcu::new(Counted::new(1));
        {
            let reader = pin();
            let seen = cell.load(&reader).unwrap();
            cell.set(Some(Counted::new(2)), &pin());
            assert_eq!((seen.0, cell.load(&reader).unwrap().0), (1, 2));
            let held = cell.get(&reader).unwrap();
            cell.bury(&reader);
            assert!(matches!(cell.probe(&reader), Probe::Buried));
            assert_eq!(held.0, 2);
        }
        cell.set(Some(Counted::new(3)), &pin());
        drop(cell);
        for _ in 0..10_000 {
            if ALIVE.load(SeqCst) == 0 {
                return;
            }
            pin().0.flush();
            std::thread::yield_now();
        }
        panic!("{} values leaked", ALIVE.load(SeqCst));
    }
}
