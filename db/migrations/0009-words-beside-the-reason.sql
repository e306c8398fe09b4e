-- Reasons of older rows carry the words: a transaction of its own, so that nothing waits while the rows are looked for.
UPDATE rejected_heartbeats
SET reason = 'refused_by_postgresql', detail = substring(reason FROM '^refused_by_postgresql: (.*)$')
WHERE starts_with(reason, 'refused_by_postgresql: ');
