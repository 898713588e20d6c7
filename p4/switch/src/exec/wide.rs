//! Integers wider than a machine word: two's complement with an unlimited sign, as BMv2 computes everything.
//!
//! Only expressions that cannot be proven to fit 64 bits come here. Up to 512 bits need no allocation.

use std::cmp::Ordering;

use smallvec::SmallVec;

/// Shifting left by this much or more leaves nothing that a field could hold.
const MAX_SHIFT: u64 = 16_384;

/// Little-endian limbs; the top bit of the last limb is the sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wide(SmallVec<[u64; 8]>);

impl Wide {
    pub fn from_u64(value: u64) -> Self {
        let mut limbs = SmallVec::new();
        limbs.push(value);
        if value >> 63 != 0 {
            limbs.push(0);
        }
        Wide(limbs)
    }

    pub fn from_i64(value: i64) -> Self {
        let mut limbs = SmallVec::new();
        limbs.push(value as u64);
        Wide(limbs)
    }

    /// An unsigned value from limbs, least significant first.
    pub fn from_limbs(limbs: &[u64]) -> Self {
        let mut wide = Wide(SmallVec::from_slice(limbs));
        wide.0.push(0);
        wide.trim()
    }

    /// An unsigned value from bytes, most significant first.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let limbs = bytes.rchunks(8).map(|chunk| chunk.iter().fold(0u64, |v, &b| v << 8 | u64::from(b)));
        let mut wide = Wide(limbs.collect());
        wide.0.push(0);
        wide.trim()
    }

    /// The low `limbs.len() * 64` bits, least significant limb first.
    pub fn to_limbs(&self, limbs: &mut [u64]) {
        for (i, limb) in limbs.iter_mut().enumerate() {
            *limb = self.limb(i);
        }
    }

    #[inline]
    fn limb(&self, index: usize) -> u64 {
        self.0.get(index).copied().unwrap_or(if self.negative() { u64::MAX } else { 0 })
    }

    pub fn negative(&self) -> bool {
        self.0.last().is_some_and(|top| top >> 63 != 0)
    }

    /// The low 64 bits.
    pub fn low(&self) -> u64 {
        self.limb(0)
    }

    /// The value if it is in 0..2^64, else `u64::MAX`.
    fn clamp_u64(&self) -> u64 {
        if self.negative() || self.0.iter().skip(1).any(|&limb| limb != 0) { u64::MAX } else { self.low() }
    }

    pub fn is_zero(&self) -> bool {
        self.0.iter().all(|&limb| limb == 0)
    }

    fn trim(mut self) -> Self {
        while let [.., below, top] = self.0[..] {
            if (top == 0 && below >> 63 == 0) || (top == u64::MAX && below >> 63 == 1) {
                self.0.pop();
            } else {
                break;
            }
        }
        self
    }

    fn zip(&self, other: &Wide, f: impl Fn(u64, u64) -> u64) -> Wide {
        let len = self.0.len().max(other.0.len());
        Wide((0..len).map(|i| f(self.limb(i), other.limb(i))).collect()).trim()
    }

    pub fn and(&self, other: &Wide) -> Wide {
        self.zip(other, |a, b| a & b)
    }

    pub fn or(&self, other: &Wide) -> Wide {
        self.zip(other, |a, b| a | b)
    }

    pub fn xor(&self, other: &Wide) -> Wide {
        self.zip(other, |a, b| a ^ b)
    }

    pub fn not(&self) -> Wide {
        Wide(self.0.iter().map(|limb| !limb).collect()).trim()
    }

    pub fn add(&self, other: &Wide) -> Wide {
        self.add_carry(other, 0, |b| b)
    }

    pub fn sub(&self, other: &Wide) -> Wide {
        self.add_carry(other, 1, |b| !b)
    }

    fn add_carry(&self, other: &Wide, carry: u64, f: impl Fn(u64) -> u64) -> Wide {
        let len = self.0.len().max(other.0.len()) + 1;
        let mut carry = carry;
        let limbs = (0..len).map(|i| {
            let sum = u128::from(self.limb(i)) + u128::from(f(other.limb(i))) + u128::from(carry);
            carry = (sum >> 64) as u64;
            sum as u64
        });
        Wide(limbs.collect()).trim()
    }

    pub fn neg(&self) -> Wide {
        Wide::from_u64(0).sub(self)
    }

    fn magnitude(&self) -> Wide {
        if self.negative() { self.neg() } else { self.clone() }
    }

    pub fn mul(&self, other: &Wide) -> Wide {
        let (a, b) = (self.magnitude(), other.magnitude());
        let mut limbs: SmallVec<[u64; 8]> = SmallVec::from_elem(0, a.0.len() + b.0.len() + 1);
        for (i, &x) in a.0.iter().enumerate() {
            let mut carry = 0u128;
            for (j, &y) in b.0.iter().enumerate() {
                let sum = u128::from(x) * u128::from(y) + u128::from(limbs[i + j]) + carry;
                limbs[i + j] = sum as u64;
                carry = sum >> 64;
            }
            limbs[i + b.0.len()] = carry as u64;
        }
        let product = Wide(limbs).trim();
        if self.negative() != other.negative() { product.neg() } else { product }
    }

    /// Quotient and remainder, rounding towards zero; both zero when the divisor is.
    pub fn div_rem(&self, other: &Wide) -> (Wide, Wide) {
        let (a, b) = (self.magnitude(), other.magnitude());
        let zero = Wide::from_u64(0);
        if b.is_zero() {
            return (zero.clone(), zero);
        }
        let bits = a.0.len() * 64;
        let mut quotient: SmallVec<[u64; 8]> = SmallVec::from_elem(0, a.0.len() + 1);
        let mut rest = zero;
        for bit in (0..bits).rev() {
            rest = rest.shl(1).or(&Wide::from_u64(a.0[bit / 64] >> (bit % 64) & 1));
            if rest.cmp(&b) != Ordering::Less {
                rest = rest.sub(&b);
                quotient[bit / 64] |= 1 << (bit % 64);
            }
        }
        let quotient = Wide(quotient).trim();
        let quotient = if self.negative() != other.negative() { quotient.neg() } else { quotient };
        (quotient, if self.negative() { rest.neg() } else { rest })
    }

    pub fn shl(&self, by: u64) -> Wide {
        if by >= MAX_SHIFT {
            return Wide::from_u64(0);
        }
        let (limbs, bits) = ((by / 64) as usize, (by % 64) as u32);
        let len = self.0.len() + limbs + 1;
        let at = |i: usize| {
            let Some(i) = i.checked_sub(limbs) else { return 0 };
            let low = if i == 0 || bits == 0 { 0 } else { self.limb(i - 1) >> (64 - bits) };
            self.limb(i) << bits | low
        };
        Wide((0..len).map(at).collect()).trim()
    }

    /// Arithmetic shift: rounds towards minus infinity.
    pub fn shr(&self, by: u64) -> Wide {
        let (limbs, bits) = ((by / 64).min(1 << 20) as usize, (by % 64) as u32);
        let len = self.0.len().saturating_sub(limbs).max(1);
        let at = |i: usize| {
            let high = if bits == 0 { 0 } else { self.limb(i + limbs + 1) << (64 - bits) };
            self.limb(i + limbs) >> bits | high
        };
        Wide((0..len).map(at).collect()).trim()
    }

    /// Shifts by a wide amount; negative amounts count as huge.
    pub fn shl_wide(&self, by: &Wide) -> Wide {
        self.shl(by.clamp_u64())
    }

    pub fn shr_wide(&self, by: &Wide) -> Wide {
        self.shr(by.clamp_u64())
    }

    /// The low `bits` bits as an unsigned number.
    pub fn mask(&self, bits: u32) -> Wide {
        let len = bits.div_ceil(64) as usize;
        let mut limbs: SmallVec<[u64; 8]> = (0..len).map(|i| self.limb(i)).collect();
        if !bits.is_multiple_of(64)
            && let Some(top) = limbs.last_mut()
        {
            *top &= (1 << (bits % 64)) - 1;
        }
        limbs.push(0);
        Wide(limbs).trim()
    }

    /// The low `bits` bits as a two's complement number.
    pub fn sign_extend(&self, bits: u32) -> Wide {
        let low = self.mask(bits);
        if bits > 0 && low.limb((bits as usize - 1) / 64) >> ((bits - 1) % 64) & 1 == 1 {
            low.sub(&Wide::from_u64(1).shl(u64::from(bits)))
        } else {
            low
        }
    }

    /// The nearest number of `bits` bits, signed or unsigned.
    pub fn saturate(&self, bits: u32, signed: bool) -> Wide {
        let one = Wide::from_u64(1);
        let (min, max) = if signed {
            let half = one.shl(u64::from(bits.saturating_sub(1)));
            (half.neg(), half.sub(&one))
        } else {
            (Wide::from_u64(0), one.shl(u64::from(bits)).sub(&one))
        };
        if self.cmp(&min) == Ordering::Less {
            min
        } else if self.cmp(&max) == Ordering::Greater {
            max
        } else {
            self.clone()
        }
    }
}

impl PartialOrd for Wide {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Wide {
    fn cmp(&self, other: &Wide) -> Ordering {
        match (self.negative(), other.negative()) {
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
            _ => {
                let len = self.0.len().max(other.0.len());
                let limbs = (0..len).rev().map(|i| self.limb(i).cmp(&other.limb(i)));
                limbs.fold(Ordering::Equal, Ordering::then)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wide(value: i128) -> Wide {
        let mut limbs = SmallVec::new();
        limbs.extend([value as u64, (value >> 64) as u64]);
        Wide(limbs).trim()
    }

    proptest! {
        #[test]
        fn agrees_with_machine_arithmetic(a in any::<i64>(), b in any::<i64>(), shift in 0u32..60, bits in 1u32..63) {
            let (x, y) = (i128::from(a), i128::from(b));
            prop_assert_eq!(wide(x).add(&wide(y)), wide(x + y));
            prop_assert_eq!(wide(x).sub(&wide(y)), wide(x - y));
            prop_assert_eq!(wide(x).mul(&wide(y)), wide(x * y));
            prop_assert_eq!(wide(x).and(&wide(y)), wide(x & y));
            prop_assert_eq!(wide(x).or(&wide(y)), wide(x | y));
            prop_assert_eq!(wide(x).xor(&wide(y)), wide(x ^ y));
            prop_assert_eq!(wide(x).not(), wide(!x));
            prop_assert_eq!(wide(x).cmp(&wide(y)), x.cmp(&y));
            prop_assert_eq!(wide(x).shl(shift.into()), wide(x << shift));
            prop_assert_eq!(wide(x << 40).shr(shift.into()), wide((x << 40) >> shift));
            prop_assert_eq!(wide(x).mask(bits), wide(x & ((1 << bits) - 1)));
            prop_assert_eq!(wide(x).sign_extend(bits), wide(x << (128 - bits) >> (128 - bits)));
            prop_assert_eq!(wide(x).saturate(bits, false), wide(x.clamp(0, (1 << bits) - 1)));
            let half = 1i128 << (bits - 1);
            prop_assert_eq!(wide(x).saturate(bits, true), wide(x.clamp(-half, half - 1)));
            if y != 0 {
                prop_assert_eq!(wide(x * 3 + 1).div_rem(&wide(y)), (wide((x * 3 + 1) / y), wide((x * 3 + 1) % y)));
            }
        }
    }

    #[test]
    fn shifts_cross_limbs_and_huge_shifts_leave_nothing() {
        let one = Wide::from_u64(1);
        assert_eq!(one.shl(300).shr(299), Wide::from_u64(2));
        assert!(one.shl(u64::MAX).is_zero());
        assert_eq!(Wide::from_i64(-5).shr(u64::MAX), Wide::from_i64(-1));
        assert_eq!(Wide::from_u64(u64::MAX).mul(&Wide::from_u64(u64::MAX)).shr(64).low(), u64::MAX - 1);
    }
}
