//! What a nest computes in: integers of 32 bits, which wrap, or floats.
//!
//! In: bits of the arena and of constants. Out: numbers, what is done with them, and bits again. Floats are
//! computed one operation after the other, so that they are the same on every core.

/// A number of a nest.
pub trait Number: Copy {
    /// Nothing: what is read outside of a tensor.
    const ZERO: Self;
    /// One in 8 bits.
    fn small(value: i8) -> Self;
    /// One in 32 bits.
    fn whole(value: i32) -> Self;
    /// A float.
    fn real(bits: u32) -> Self;
    /// A constant of the program.
    fn constant(word: i32) -> Self;
    /// As it is written.
    fn bits(self) -> u32;
    /// The sum.
    fn plus(self, other: Self) -> Self;
    /// The product.
    fn times(self, other: Self) -> Self;
    /// It, or 0 if that is more.
    fn relu(self) -> Self;
    /// The hyperbolic tangent.
    fn tanh(self) -> Self;
    /// `1 / (1 + exp(-x))`.
    fn sigmoid(self) -> Self;
    /// The exponential.
    fn exp(self) -> Self;
    /// One over it.
    fn reciprocal(self) -> Self;
    /// One over its square root.
    fn inverse_root(self) -> Self;
    /// In 8 bits, after the factor and the shift of [`store::SMALL`](crate::code::store::SMALL).
    fn to_small(self, factor: i32, shift: i32) -> i8;
}

impl Number for i32 {
    const ZERO: Self = 0;

    #[inline]
    fn small(value: i8) -> Self {
        value.into()
    }

    #[inline]
    fn whole(value: i32) -> Self {
        value
    }

    #[inline]
    fn real(bits: u32) -> Self {
        f32::from_bits(bits) as Self
    }

    #[inline]
    fn constant(word: i32) -> Self {
        word
    }

    #[inline]
    fn bits(self) -> u32 {
        self as u32
    }

    #[inline]
    fn plus(self, other: Self) -> Self {
        self.wrapping_add(other)
    }

    #[inline]
    fn times(self, other: Self) -> Self {
        self.wrapping_mul(other)
    }

    #[inline]
    fn relu(self) -> Self {
        self.max(0)
    }

    #[inline]
    fn tanh(self) -> Self {
        self.signum()
    }

    #[inline]
    fn sigmoid(self) -> Self {
        self
    }

    #[inline]
    fn exp(self) -> Self {
        self
    }

    #[inline]
    fn reciprocal(self) -> Self {
        self
    }

    #[inline]
    fn inverse_root(self) -> Self {
        self
    }

    #[inline]
    fn to_small(self, factor: i32, shift: i32) -> i8 {
        let shift = shift.clamp(0, 62) as u32;
        let half = (1i64 << shift) >> 1;
        // No more than 62 bits before the half is added.
        let scaled = (i64::from(self) * i64::from(factor) + half) >> shift;
        scaled.clamp(-127, 127) as i8
    }
}

impl Number for f32 {
    const ZERO: Self = 0.0;

    #[inline]
    fn small(value: i8) -> Self {
        value.into()
    }

    #[inline]
    fn whole(value: i32) -> Self {
        value as Self
    }

    #[inline]
    fn real(bits: u32) -> Self {
        Self::from_bits(bits)
    }

    #[inline]
    fn constant(word: i32) -> Self {
        Self::from_bits(word as u32)
    }

    #[inline]
    fn bits(self) -> u32 {
        self.to_bits()
    }

    #[inline]
    fn plus(self, other: Self) -> Self {
        self + other
    }

    #[inline]
    fn times(self, other: Self) -> Self {
        self * other
    }

    #[inline]
    fn relu(self) -> Self {
        if self > 0.0 { self } else { 0.0 }
    }

    #[inline]
    fn tanh(self) -> Self {
        libm::tanhf(self)
    }

    #[inline]
    fn sigmoid(self) -> Self {
        1.0 / (1.0 + libm::expf(-self))
    }

    #[inline]
    fn exp(self) -> Self {
        libm::expf(self)
    }

    #[inline]
    fn reciprocal(self) -> Self {
        1.0 / self
    }

    #[inline]
    fn inverse_root(self) -> Self {
        1.0 / libm::sqrtf(self)
    }

    #[inline]
    fn to_small(self, factor: i32, _: i32) -> i8 {
        let scaled = self * Self::from_bits(factor as u32);
        let half = if scaled < 0.0 { -0.5 } else { 0.5 };
        // A float that is none becomes 0, one that is too large the largest.
        ((scaled + half) as i32).clamp(-127, 127) as i8
    }
}
