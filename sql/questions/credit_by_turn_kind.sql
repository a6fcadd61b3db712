-- Grain:  one row per kind of turn: what it earned on average under each credit, next to the truth.
-- Reads:  turns, credits
-- Params: none
-- Drops:  turns that were not kept for training.
-- Order:  the best kind of turn first, by the oracle, then its name

select
    turns.turn_kind,
    count(*) as turns,
    round(avg(credit_outcome), 3) as outcome,
    round(avg(credit_itpo), 3) as itpo,
    round(avg(credit_norm_itpo), 3) as norm_itpo,
    round(avg(credit_norm_itpo_share), 3) as norm_itpo_share,
    round(avg(credit_oracle_pi), 3) as oracle
from turns
inner join credits using (conversation_id, turn_index)
group by turns.turn_kind
order by oracle desc, turns.turn_kind
