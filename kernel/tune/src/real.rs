//! The numbers that are computed with: `f32` on boards, `f64` where a test wants its digits.
//!
//! In: nothing. Out: [`Real`], whose functions are `libm`'s on every target, so that the same step gives
//! the same bits everywhere.

use core::ops::{Add, AddAssign, Div, Mul, Neg, Sub};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// A floating-point number.
pub trait Real:
    Copy
    + PartialOrd
    + FromBytes
    + IntoBytes
    + Immutable
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + Factor<Self>
    + 'static
{
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// Less than all others.
    const LOWEST: Self;

    /// A number of the image.
    fn of(x: f32) -> Self;
    /// A constant, or a count.
    fn wide(x: f64) -> Self;
    /// As it is stored and reported.
    fn narrow(self) -> f32;
    /// `e^x`.
    fn exp(self) -> Self;
    /// The natural logarithm.
    fn ln(self) -> Self;
    /// The square root.
    fn sqrt(self) -> Self;
    /// Sine and cosine.
    fn sin_cos(self) -> (Self, Self);

    /// A count.
    fn count(n: usize) -> Self {
        Self::wide(n as f64)
    }
}

macro_rules! real {
    ($($type:ident: $exp:ident $log:ident $sqrt:ident $sincos:ident;)*) => {$(
        impl Real for $type {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const LOWEST: Self = $type::NEG_INFINITY;

            #[inline]
            fn of(x: f32) -> Self {
                x.into()
            }
            #[inline]
            fn wide(x: f64) -> Self {
                x as Self
            }
            #[inline]
            fn narrow(self) -> f32 {
                self as f32
            }
            #[inline]
            fn exp(self) -> Self {
                libm::$exp(self)
            }
            #[inline]
            fn ln(self) -> Self {
                libm::$log(self)
            }
            #[inline]
            fn sqrt(self) -> Self {
                libm::$sqrt(self)
            }
            #[inline]
            fn sin_cos(self) -> (Self, Self) {
                libm::$sincos(self)
            }
        }
    )*};
}

real! {
    f32: expf logf sqrtf sincosf;
    f64: exp log sqrt sincos;
}

/// What can stand in a product: a number of the image, or one that was computed.
pub trait Factor<R>: Copy {
    /// The number.
    fn real(self) -> R;
}

impl<R: Real> Factor<R> for f32 {
    #[inline]
    fn real(self) -> R {
        R::of(self)
    }
}

impl Factor<Self> for f64 {
    #[inline]
    fn real(self) -> Self {
        self
    }
}
