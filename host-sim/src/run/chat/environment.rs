//! The environment that `transformers` renders templates in: its functions and filters, Python's spelling
//! of values, and limits on what a template may take.
//!
//! In: the time, a sign to stop. Out: an [`Environment`] for what [`source`](super::source) writes. Knows
//! nothing of messages.

use super::methods::{self, join, replace};
use super::python::{Json, check_kept, check_length, fails, str};
use super::tuple::{divide, tuple, tuples};
use jiff::civil::DateTime;
use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Environment, Error};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The function that says how a value of a concatenation is spelt.
pub(super) const SPELL: &str = "ripple_spell";
/// The function that makes a tuple of a list.
pub(super) const TUPLE: &str = "ripple_tuple";
/// The functions that `//` and `%` are written as.
pub(super) const DIVIDE: [&str; 2] = ["ripple_divide", "ripple_rest"];
/// The function that what is kept in a variable goes through.
pub(super) const KEEP: &str = "ripple_keep";
/// The function that what is kept in a namespace goes through.
pub(super) const HOLD: &str = "ripple_hold";
/// Most instructions of the engine; a conversation of a thousand messages takes some hundred thousand.
const FUEL: u64 = 5_000_000;
/// Most frames within frames; a call takes some.
const LEVELS: usize = 500;

/// `now`: what `strftime_now` tells. Rendering ends with an error once `stop` is set.
pub(super) fn environment<'t>(now: DateTime, stop: &Arc<AtomicBool>) -> Environment<'t> {
    let mut environment = Environment::new();
    environment.set_keep_trailing_newline(true);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(LEVELS);
    let (written, stop) = (AtomicUsize::new(0), stop.clone());
    let stopped = move || match stop.load(Ordering::Relaxed) {
        true => Err(fails("stopped")),
        false => Ok(()),
    };
    let asked = stopped.clone();
    environment.set_formatter(move |out, _, value| {
        stopped()?;
        let text = str(value)?;
        check_length(text.len() + written.fetch_add(text.len(), Ordering::Relaxed))?;
        out.write_str(&text).map_err(Error::from)
    });
    environment.add_function(SPELL, |value: &Value| str(value));
    environment.add_function(TUPLE, tuple);
    for (name, rest) in DIVIDE.into_iter().zip([false, true]) {
        environment.add_function(name, move |a: &Value, b: &Value| divide(a, b, rest));
    }
    for (name, in_namespace) in [(KEEP, false), (HOLD, true)] {
        let asked = asked.clone();
        environment.add_function(name, move |value: Value| {
            asked()?;
            check_kept(&value, in_namespace)?;
            Ok::<_, Error>(value)
        });
    }
    environment.add_function("raise_exception", |message: String| Err::<(), _>(fails(message)));
    environment.add_function("strftime_now", move |format: &str| {
        jiff::fmt::strtime::format(format, now)
            .map_err(|error| fails(format!("strftime_now({format:?}): {error}")))
    });
    environment.set_unknown_method_callback(methods::call);
    filters(&mut environment);
    tests(&mut environment);
    environment
}

fn filters(environment: &mut Environment<'_>) {
    environment.add_filter("string", |value: &Value| str(value));
    environment.add_filter("join", |value: &Value, separator: Option<Value>, named: Kwargs| {
        let mut items = value.clone();
        if let Some(attribute) = named.get::<Option<Value>>("attribute")? {
            items = value
                .try_iter()?
                .map(|item| item.get_item(&attribute))
                .collect::<Result<_, _>>()?;
        }
        let separator = match separator {
            Some(separator) => Some(separator),
            None => named.get::<Option<Value>>("d")?,
        };
        named.assert_all_used()?;
        join(&separator.map_or(Ok(String::new()), |separator| str(&separator))?, &items, true)
    });
    environment.add_filter(
        "replace",
        |value: &Value, old: &Value, new: &Value, most: Option<i64>| {
            replace(&str(value)?, &str(old)?, &str(new)?, most)
        },
    );
    environment.add_filter("tojson", tojson);
    environment.add_filter("items", |value: &Value| tuples(&minijinja::filters::items(value)?));
    environment.add_filter("dictsort", |value: &Value, named: Kwargs| {
        tuples(&minijinja::filters::dictsort(value, named)?)
    });
    environment.add_filter("round", round);
    environment.add_filter("int", |value: &Value, default: Option<Value>| {
        let text = str(value)?;
        let text = text.trim();
        let whole = text.parse::<i64>().ok().or_else(|| match value.kind() {
            ValueKind::Bool => Some(value.is_true().into()),
            // As a float, without what follows the point.
            _ => text.parse().ok().filter(|n: &f64| n.is_finite()).map(|n| n as i64),
        });
        Ok::<_, Error>(whole.map_or_else(|| default.unwrap_or_else(|| 0.into()), Value::from))
    });
    environment.add_filter("float", |value: &Value, default: Option<Value>| {
        let float = match value.kind() {
            ValueKind::Bool => Ok(f64::from(u8::from(value.is_true()))),
            _ => str(value)?.trim().parse::<f64>(),
        };
        Ok::<_, Error>(float.map_or_else(|_| default.unwrap_or_else(|| 0.0.into()), Value::from))
    });
    for (name, filter) in
        [("upper", str::to_uppercase as fn(&str) -> String), ("lower", str::to_lowercase)]
    {
        environment.add_filter(name, move |value: &Value| Ok::<_, Error>(filter(&str(value)?)));
    }
    environment.add_filter("trim", |value: &Value, chars: Option<&str>| {
        let text = str(value)?;
        Ok::<_, Error>(match chars {
            Some(chars) => text.trim_matches(|c| chars.contains(c)).to_owned(),
            None => text.trim().to_owned(),
        })
    });
}

/// Python's `round`, of two equally near decimals the even one, or `math.floor` and `math.ceil`.
fn round(value: &Value, digits: Option<i32>, method: Option<&str>) -> Result<Value, Error> {
    const MOST: i32 = 300;
    let digits = digits.unwrap_or(0);
    let number = f64::try_from(value.clone())?;
    if !(-MOST..=MOST).contains(&digits) {
        return Err(fails(format!("round: {digits} digits, expected -{MOST} to {MOST}")));
    }
    let unit = 10f64.powi(digits);
    Ok(match method.unwrap_or("common") {
        "common" if value.is_integer() && digits >= 0 => value.clone(),
        // Formatting is exact, and takes the even one of two.
        "common" if digits >= 0 => {
            let text = format!("{number:.*}", digits as usize);
            Value::from(text.parse::<f64>().unwrap_or(number))
        }
        "common" => Value::from((number * unit).round_ties_even() / unit),
        "floor" => Value::from((number * unit).floor() / unit),
        "ceil" => Value::from((number * unit).ceil() / unit),
        other => {
            return Err(fails(format!("round: {other:?}, expected common, floor or ceil")));
        }
    })
}

/// `json.dumps`, as `transformers` has it: nothing is escaped for HTML.
fn tojson(value: &Value, named: Kwargs) -> Result<String, Error> {
    let flag = |name| Ok::<_, Error>(named.get::<Option<bool>>(name)?.unwrap_or(false));
    let indent = match named.get::<Option<Value>>("indent")? {
        Some(indent) if !indent.is_none() => Some(match indent.as_usize() {
            Some(width) => {
                check_length(width)?;
                " ".repeat(width)
            }
            None => str(&indent)?,
        }),
        _ => None,
    };
    let separators = match named.get::<Option<Value>>("separators")? {
        Some(pair) if !pair.is_none() => {
            (str(&pair.get_item_by_index(0)?)?, str(&pair.get_item_by_index(1)?)?)
        }
        _ if indent.is_some() => (",".to_owned(), ": ".to_owned()),
        _ => (", ".to_owned(), ": ".to_owned()),
    };
    let (ensure_ascii, sort_keys) = (flag("ensure_ascii")?, flag("sort_keys")?);
    named.assert_all_used()?;
    Json { indent, separators, ensure_ascii, sort_keys }.dumps(value)
}

/// What Python calls a sequence has a length and places; a string is one, and can be iterated. So can what
/// is undefined.
fn tests(environment: &mut Environment<'_>) {
    use ValueKind::{Iterable, Map, Seq, String, Undefined};
    environment.add_test("sequence", |value: &Value| {
        matches!(value.kind(), Seq | Iterable | Map | String | Undefined)
    });
    environment.add_test("iterable", |value: &Value| {
        matches!(value.kind(), Seq | Iterable | Map | String | Undefined)
    });
    environment.add_test("number", |value: &Value| {
        matches!(value.kind(), ValueKind::Number | ValueKind::Bool)
    });
}
