//! Factors that are known beforehand: multiplied into the weights that they meet.
//!
//! In: a network. Out: the same with fewer products while it runs, or nothing where no factor can be moved. What
//! is a scale of channels, a normalisation's weight or a constant is not told apart: they are weights.

use super::program::free;
use crate::expr::{Access, Expr, Kind, Scope, Target, Tensor};
use crate::index::{Index, Range};
use crate::network::{Definition, Network};

/// Several weights in one product are one weight, computed beforehand: `X W V` is `X P` with `P = W V`. The
/// product has the dimensions of the largest of them, which must be read in place and have all iterators of the
/// others. `None` where a body has no two such weights.
pub fn combine(network: &Network, at: usize) -> Option<Network> {
    let Definition { scope, .. } = network.definitions.get(at)?;
    if scope.is_weight(&network.tensors) {
        return None;
    }
    let factors = scope.body.factors()?;
    let (known, rest): (Vec<&Access>, Vec<&Access>) =
        factors.into_iter().partition(|access| access.is_weight(&network.tensors));
    if known.len() < 2 || rest.is_empty() {
        return None;
    }
    let main = *known.iter().max_by_key(|access| extent(access, network))?;
    let ranges = scope.ranges();
    let vars = main.index.iter().map(Index::as_var).collect::<Option<Vec<usize>>>()?;
    let mut seen = 0u64;
    vars.iter().for_each(|&v| seen |= 1 << v);
    let in_place = vars
        .iter()
        .enumerate()
        .all(|(d, &v)| ranges[v] == main.extent(&network.tensors, d) && ranges[v].lo == 0);
    let all =
        known.iter().flat_map(|access| &access.index).fold(0, |set, index| set | index.vars());
    if !in_place || seen.count_ones() as usize != vars.len() || all & !seen != 0 {
        return None;
    }
    // Over the dimensions of the product.
    let loops: Vec<Range> = vars.iter().map(|&v| ranges[v]).collect();
    let place = |v: usize| vars.iter().position(|&own| own == v).map_or(0, |d| d as u8);
    let number: Vec<u8> = (0..ranges.len()).map(place).collect();
    let over = |access: &Access| {
        let index = access.index.iter().map(|index| index.renamed(&number)).collect();
        Expr::Access(Access { target: access.target.clone(), index })
    };
    let body = Expr::product(known.iter().map(|access| over(access)).collect());
    let mut out = network.clone();
    let shape: Vec<i64> = loops.iter().map(|range| range.len()).collect();
    let names: Vec<&str> = known
        .iter()
        .filter_map(|access| match access.target {
            Target::Tensor(id) => Some(network.tensors[id as usize].name.as_str()),
            Target::Scope(_) => None,
        })
        .collect();
    let tensor = out.declare(Tensor::new(free(network, &names.join("_")), Kind::Weight, &shape));
    let product = Access { target: Target::Tensor(tensor), index: main.index.clone() };
    let mut parts: Vec<Expr> = rest.into_iter().cloned().map(Expr::Access).collect();
    parts.push(Expr::Access(product));
    out.definitions[at].scope.body = Expr::product(parts);
    let scope = Scope { loops, sums: Vec::new(), body };
    let known = known_first(&mut out);
    out.definitions.insert(known, Definition { tensor, scope });
    Some(out)
}

/// Puts what is computed beforehand before all else, in the order in which it is; how many these are.
fn known_first(network: &mut Network) -> usize {
    let tensors = &network.tensors;
    let known = |definition: &Definition| tensors[definition.tensor as usize].kind == Kind::Weight;
    network.definitions.sort_by_key(|definition| !known(definition));
    network.definitions.iter().take_while(|definition| known(definition)).count()
}

/// A weight that multiplies a sum is multiplied into what is added up: `O[f] = s[f] T[f]` with
/// `T[f] = sum over k . b` becomes `O[f] = T[f]` with `T[f] = sum over k . s[f] b`. Also within a sum, as in
/// `O[f] = s[f] T[f] + t[f]`. `None` where definition `at` has no such product, or where `T` is read elsewhere or
/// not in place.
pub fn absorb(network: &Network, at: usize) -> Option<Network> {
    let Definition { scope, .. } = network.definitions.get(at)?;
    if !scope.sums.is_empty() {
        return None;
    }
    let (tensor, weights, body) = within(&scope.body, at, network)?;
    let from = network.definition_of(tensor)?;
    let mut out = network.clone();
    let inner = &mut out.definitions[from].scope;
    // The weights' indices are over the loops of `at`, which are those of the tensor by its access.
    let mut read = None;
    scope.body.accesses(&mut |access| {
        if access.target == Target::Tensor(tensor) {
            read = Some(access.clone());
        }
    });
    let places = read?.index.iter().map(Index::as_var).collect::<Option<Vec<usize>>>()?;
    let same = places.iter().enumerate().all(|(d, &v)| {
        scope.loops.get(v) == Some(&Range::to(network.tensors[tensor as usize].shape[d]))
    });
    let mut number = vec![None; scope.loops.len()];
    places.iter().enumerate().for_each(|(d, &v)| number[v] = Some(d as u8));
    let used = weights.iter().flat_map(|w| &w.index).fold(0, |set, index| set | index.vars());
    if !same || (0..number.len()).any(|v| used >> v & 1 == 1 && number[v].is_none()) {
        return None;
    }
    let number: Vec<u8> = number.into_iter().map(Option::unwrap_or_default).collect();
    let moved = weights.iter().map(|weight| {
        let index = weight.index.iter().map(|index| index.renamed(&number)).collect();
        Expr::Access(Access { target: weight.target.clone(), index })
    });
    inner.body = Expr::product(std::iter::once(inner.body.clone()).chain(moved).collect());
    out.definitions[at].scope.body = body;
    known_first(&mut out);
    Some(out)
}

/// The tensor of a sum that weights multiply somewhere in `body`, the weights, and the body without them.
fn within(body: &Expr, at: usize, network: &Network) -> Option<(u32, Vec<Access>, Expr)> {
    match body {
        Expr::Product(parts) => {
            let is_known = |part: &Expr| match part {
                Expr::Access(access) => access.is_weight(&network.tensors),
                _ => false,
            };
            let (known, rest): (Vec<&Expr>, Vec<&Expr>) = parts.iter().partition(|p| is_known(p));
            let [Expr::Access(access)] = rest.as_slice() else { return None };
            let Target::Tensor(tensor) = access.target else { return None };
            let from = network.definition_of(tensor)?;
            let summed = &network.definitions[from].scope;
            let is_sum = !summed.sums.is_empty() && summed.body.factors().is_some();
            if !is_sum || network.readers(tensor) != [at] || known.is_empty() {
                return None;
            }
            let weights = known.into_iter().filter_map(|part| match part {
                Expr::Access(access) => Some(access.clone()),
                _ => None,
            });
            Some((tensor, weights.collect(), Expr::Access(access.clone())))
        }
        Expr::Sum(parts) => parts.iter().enumerate().find_map(|(place, part)| {
            let (tensor, weights, changed) = within(part, at, network)?;
            // Read once only: else the other term would be scaled too.
            let mut reads = 0;
            body.accesses(&mut |access| reads += u32::from(access.reads(tensor)));
            if reads != 1 {
                return None;
            }
            let mut parts = parts.clone();
            parts[place] = changed;
            Some((tensor, weights, Expr::sum(parts)))
        }),
        Expr::Apply(function, inner) => {
            let (tensor, weights, changed) = within(inner, at, network)?;
            Some((tensor, weights, Expr::Apply(*function, Box::new(changed))))
        }
        _ => None,
    }
}

/// A weight that is the same for all iterators of a product is multiplied into the definition of another factor,
/// a sum of products that nothing else reads: `sum . c q k` with `q = sum . x W` is `sum . q k` with
/// `q = sum . c x W`. `None` where there is none.
pub fn push(network: &Network, at: usize) -> Option<Network> {
    let Definition { scope, .. } = network.definitions.get(at)?;
    let factors = scope.body.factors()?;
    let is_constant = |access: &&Access| {
        access.is_weight(&network.tensors)
            && access.index.iter().all(|index| index.as_constant().is_some())
    };
    let constant = (*factors.iter().find(|access| is_constant(access))?).clone();
    let from = factors.iter().find_map(|access| {
        let Target::Tensor(tensor) = access.target else { return None };
        let from = network.definition_of(tensor)?;
        let inner = &network.definitions[from].scope;
        let once = factors.iter().filter(|other| other.reads(tensor)).count() == 1;
        let fits = !inner.sums.is_empty() && inner.body.factors().is_some();
        (once && fits && network.readers(tensor) == [at] && !inner.is_weight(&network.tensors))
            .then_some(from)
    })?;
    let mut rest: Vec<Expr> = factors.iter().map(|a| Expr::Access((*a).clone())).collect();
    let place = rest.iter().position(|part| *part == Expr::Access(constant.clone()))?;
    rest.remove(place);
    let mut out = network.clone();
    out.definitions[at].scope.body = Expr::product(rest);
    let inner = &mut out.definitions[from].scope;
    inner.body = Expr::product(vec![inner.body.clone(), Expr::Access(constant)]);
    known_first(&mut out);
    Some(out)
}

/// Numbers that an access's target has.
fn extent(access: &Access, network: &Network) -> i64 {
    (0..access.index.len()).map(|d| access.extent(&network.tensors, d).len()).product()
}
