//! Registers. An action that touches some holds their locks while it runs, so its read-modify-write is atomic as in BMv2.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

use crate::exec::wide::Wide;

/// An array of cells of `bitwidth` bits.
pub struct RegisterArray {
    pub bitwidth: u32,
    limbs: usize,
    size: usize,
    cells: Box<[AtomicU64]>,
    pub(crate) lock: Mutex<()>,
}

impl RegisterArray {
    pub fn new(size: usize, bitwidth: u32) -> Self {
        let limbs = bitwidth.div_ceil(64).max(1) as usize;
        let cells = (0..size * limbs).map(|_| AtomicU64::new(0)).collect();
        RegisterArray { bitwidth, limbs, size, cells, lock: Mutex::new(()) }
    }

    pub fn len(&self) -> usize {
        self.size
    }

    pub fn is_empty(&self) -> bool {
        self.size == 0
    }

    pub(crate) fn is_narrow(&self) -> bool {
        self.limbs == 1
    }

    fn at(&self, index: u64) -> Option<&[AtomicU64]> {
        let index = usize::try_from(index).ok().filter(|&i| i < self.size)?;
        Some(&self.cells[index * self.limbs..(index + 1) * self.limbs])
    }

    /// The low 64 bits of a cell.
    #[inline]
    pub(crate) fn low(&self, index: u64) -> Option<u64> {
        Some(self.at(index)?[0].load(Relaxed))
    }

    pub(crate) fn wide(&self, index: u64) -> Option<Wide> {
        let limbs: smallvec::SmallVec<[u64; 8]> = self.at(index)?.iter().map(|limb| limb.load(Relaxed)).collect();
        Some(Wide::from_limbs(&limbs))
    }

    pub(crate) fn set_low(&self, index: u64, value: u64) {
        let mask = if self.bitwidth >= 64 { u64::MAX } else { (1 << self.bitwidth) - 1 };
        if let Some(cell) = self.at(index) {
            cell[0].store(value & mask, Relaxed);
            cell[1..].iter().for_each(|limb| limb.store(0, Relaxed));
        }
    }

    pub(crate) fn set_wide(&self, index: u64, value: &Wide) {
        let value = value.mask(self.bitwidth);
        if let Some(cell) = self.at(index) {
            let mut limbs: smallvec::SmallVec<[u64; 8]> = smallvec::SmallVec::from_elem(0, cell.len());
            value.to_limbs(&mut limbs);
            cell.iter().zip(limbs).for_each(|(cell, limb)| cell.store(limb, Relaxed));
        }
    }

    /// A cell's bytes, most significant first, in the register's whole length; `None` beyond the end.
    pub fn read(&self, index: u64) -> Option<Vec<u8>> {
        let _lock = self.lock.lock();
        let cell = self.at(index)?;
        let bytes: Vec<u8> = cell.iter().rev().flat_map(|limb| limb.load(Relaxed).to_be_bytes()).collect();
        Some(bytes[bytes.len() - self.bitwidth.div_ceil(8).max(1) as usize..].to_vec())
    }

    /// Writes a cell; false beyond the end. Bits beyond the register's width are cut off.
    pub fn write(&self, index: u64, value: &[u8]) -> bool {
        let _lock = self.lock.lock();
        self.set_wide(index, &Wide::from_bytes(value));
        self.at(index).is_some()
    }

    /// Sets all cells to zero.
    pub fn reset(&self) {
        let _lock = self.lock.lock();
        self.cells.iter().for_each(|cell| cell.store(0, Relaxed));
    }
}
