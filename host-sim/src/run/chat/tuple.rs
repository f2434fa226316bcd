//! Python's tuples, which the template engine has not: lists that are spelt with parentheses.
//!
//! In: values. Out: one that counts as a list. Knows nothing of templates.

use minijinja::value::{Enumerator, Object, ObjectRepr, Value};
use minijinja::{Error, ErrorKind};
use std::sync::Arc;

/// Its items.
#[derive(Debug)]
pub(super) struct Tuple(Vec<Value>);

impl Object for Tuple {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.0.get(key.as_usize()?).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(self.0.len())
    }
}

/// A tuple of the items of a list.
pub(super) fn tuple(items: &Value) -> Result<Value, Error> {
    Ok(Value::from_object(Tuple(items.try_iter()?.collect())))
}

pub(super) fn is_tuple(value: &Value) -> bool {
    value.downcast_object_ref::<Tuple>().is_some()
}

/// A list of tuples of a list of lists.
pub(super) fn tuples(lists: &Value) -> Result<Value, Error> {
    lists.try_iter()?.map(|items| tuple(&items)).collect()
}

/// Python's `a // b`, or with `rest` its `a % b`: rounded down, the rest of the divisor's sign.
pub(super) fn divide(a: &Value, b: &Value, rest: bool) -> Result<Value, Error> {
    let operator = if rest { "%" } else { "//" };
    let fails = |what: String| Error::new(ErrorKind::InvalidOperation, what);
    let wrong = || {
        let (a, b) = (a.kind(), b.kind());
        fails(format!("unsupported operand types for {operator}: {a} and {b}"))
    };
    let whole = |value: &Value| -> Option<i128> {
        if let Ok(truth) = bool::try_from(value.clone()) {
            return Some(i128::from(truth));
        }
        value.is_integer().then(|| i128::try_from(value.clone()).ok()).flatten()
    };
    let zero = || fails(format!("{operator}: division by zero"));
    if let (Some(a), Some(b)) = (whole(a), whole(b)) {
        let (quotient, remainder) = match (a.checked_div(b), a.checked_rem(b)) {
            (Some(quotient), Some(remainder)) => (quotient, remainder),
            _ => return Err(zero()),
        };
        let down = remainder != 0 && (remainder < 0) != (b < 0);
        return Ok(match rest {
            true => Value::from(if down { remainder + b } else { remainder }),
            false => Value::from(quotient - i128::from(down)),
        });
    }
    let float = |value: &Value| match whole(value) {
        Some(whole) => Ok(whole as f64),
        None if value.is_number() => f64::try_from(value.clone()).map_err(|_| wrong()),
        None => Err(wrong()),
    };
    let (a, b) = (float(a)?, float(b)?);
    if b == 0.0 {
        return Err(zero());
    }
    let mut remainder = a % b;
    if remainder != 0.0 && (remainder < 0.0) != (b < 0.0) {
        remainder += b;
    }
    Ok(Value::from(if rest { remainder } else { ((a - remainder) / b).round() }))
}
