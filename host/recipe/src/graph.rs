//! The order of steps.

/// Orders nodes so that each comes after all that it needs; among those that are free, the first written comes first.
/// The error is a cycle, each node needing the next and the last the first.
pub(crate) fn order(needs: &[Vec<usize>]) -> Result<Vec<usize>, Vec<usize>> {
    let mut done = vec![false; needs.len()];
    let mut out = Vec::with_capacity(needs.len());
    while out.len() < needs.len() {
        let free = (0..needs.len()).find(|&node| !done[node] && needs[node].iter().all(|&need| done[need]));
        match free {
            Some(node) => {
                done[node] = true;
                out.push(node);
            }
            None => return Err(cycle(needs, &done)),
        }
    }
    Ok(out)
}

/// Walks along unmet needs until a node comes again.
fn cycle(needs: &[Vec<usize>], done: &[bool]) -> Vec<usize> {
    let mut walk = Vec::new();
    let mut at = done.iter().position(|done| !done);
    while let Some(node) = at {
        if let Some(first) = walk.iter().position(|&seen| seen == node) {
            return walk.split_off(first);
        }
        walk.push(node);
        at = needs[node].iter().copied().find(|&need| !done[need]);
    }
    walk
}

#[cfg(test)]
mod tests {
    use super::order;

    #[test]
    fn needs_come_first_and_the_order_of_the_text_is_kept() {
        assert_eq!(order(&[vec![2], vec![], vec![1]]), Ok(vec![1, 2, 0]));
        assert_eq!(order(&[vec![], vec![], vec![]]), Ok(vec![0, 1, 2]));
        assert_eq!(order(&[]), Ok(vec![]));
    }

    #[test]
    fn a_cycle_is_shown_without_what_only_leads_to_it() {
        assert_eq!(order(&[vec![1], vec![2], vec![1]]), Err(vec![1, 2]));
        assert_eq!(order(&[vec![0]]), Err(vec![0]));
    }
}
