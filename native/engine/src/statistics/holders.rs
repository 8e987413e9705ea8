//! Who needs a content: nobody, one point, or a set of machines, in four bytes.
//!
//! Whatever several points of one machine need is that machine's; what points of several machines need is a set of
//! machines, kept once however many contents it stands for. More is not told apart, so that a content costs the same
//! whether two or five hundred points need it.

use std::collections::HashMap;

/// Set in a holder that is a set of machines.
const IS_SET: u32 = 1 << 28;

/// Points and sets are numbered below this; the bits from here on are the table's.
pub(super) const HOLDER_LIMIT: u32 = 1 << 29;

/// Who needs a content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Holder(u32);

impl Holder {
    /// Nobody.
    pub(super) const NOBODY: Self = Self(0);

    pub(super) fn of_point(point: usize) -> Self {
        let number = u32::try_from(point + 1).ok().filter(|number| *number < IS_SET);
        Self(number.expect("fewer than 2^28 points"))
    }

    fn of_set(set: u32) -> Self {
        assert!(set < IS_SET, "fewer than 2^28 groups of machines");
        Self(IS_SET | set)
    }

    /// The only point that needs it, if there is just one.
    pub(super) fn point(self) -> Option<usize> {
        (self.0 != 0 && self.0 & IS_SET == 0).then(|| self.0 as usize - 1)
    }

    pub(super) const fn bits(self) -> u32 {
        self.0
    }

    pub(super) const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }
}

/// The points with their machines, and the sets of machines met so far.
pub(super) struct Holders {
    machine_of: Vec<u32>, // by point
    sets: Vec<Box<[u32]>>,
    numbers: HashMap<Box<[u32]>, u32>,
    joined: HashMap<(u32, u32), u32>,
}

impl Holders {
    /// Points with these machines.
    pub(super) fn new(machine_of: Vec<u32>) -> Self {
        Self { machine_of, sets: Vec::new(), numbers: HashMap::new(), joined: HashMap::new() }
    }

    pub(super) fn point_count(&self) -> usize {
        self.machine_of.len()
    }

    pub(super) fn set_count(&self) -> usize {
        self.sets.len()
    }

    /// The machines of a set, ascending.
    pub(super) fn machines_in(&self, set: usize) -> &[u32] {
        &self.sets[set]
    }

    /// The set that a holder of several points is.
    pub(super) fn set_of(&self, holder: Holder) -> usize {
        assert!(holder.0 & IS_SET != 0, "a set of machines");
        (holder.0 & !IS_SET) as usize
    }

    /// Who needs what both need.
    pub(super) fn join(&mut self, one: Holder, other: Holder) -> Holder {
        if one == other || other == Holder::NOBODY {
            return one;
        }
        if one == Holder::NOBODY {
            return other;
        }
        let (one, other) = (self.as_set(one), self.as_set(other));
        if one == other {
            return Holder::of_set(one);
        }
        let pair = (one.min(other), one.max(other));
        if let Some(set) = self.joined.get(&pair) {
            return Holder::of_set(*set);
        }
        let mut machines = [&*self.sets[one as usize], &*self.sets[other as usize]].concat();
        machines.sort_unstable();
        machines.dedup();
        let set = self.number(machines);
        self.joined.insert(pair, set);
        Holder::of_set(set)
    }

    fn as_set(&mut self, holder: Holder) -> u32 {
        match holder.point() {
            Some(point) => self.number(vec![self.machine_of[point]]),
            None => holder.0 & !IS_SET,
        }
    }

    fn number(&mut self, machines: Vec<u32>) -> u32 {
        let machines = machines.into_boxed_slice();
        if let Some(number) = self.numbers.get(&machines) {
            return *number;
        }
        let number = self.sets.len() as u32; // checked where it becomes a holder
        self.sets.push(machines.clone());
        self.numbers.insert(machines, number);
        number
    }
}

const _: () = assert!(IS_SET << 1 == HOLDER_LIMIT);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_join_is_the_union_whatever_the_order() {
        let mut holders = Holders::new(vec![0, 0, 1, 2]);
        let [a, b, c, d] = [0, 1, 2, 3].map(Holder::of_point);
        assert_eq!(holders.join(a, a).point(), Some(0));
        assert_eq!(holders.join(Holder::NOBODY, c), c);
        let machine = holders.join(a, b);
        assert_eq!(machine.point(), None);
        assert_eq!(holders.machines_in(holders.set_of(machine)), [0]);
        assert_eq!(holders.join(machine, b), machine);
        let two = holders.join(machine, c);
        let three = holders.join(two, d);
        assert_eq!(holders.machines_in(holders.set_of(three)), [0, 1, 2]);
        let other_way = holders.join(d, c);
        assert_eq!(holders.join(other_way, a), three);
        assert_eq!(holders.join(three, two), three);
    }
}
