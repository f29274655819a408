-- question: Which logs are in the lake, of which accounts, from when until when?
-- group: findings and events
-- technique: T1562.008 Impair Defenses: Disable or Modify Cloud Logs
-- means: First and last event by class, account and region. A source that ends early, or a
--   region that is missing, is a gap in every other answer; `trailhound audit` says more.
-- limits: Quiet regions have few events.
-- takes: account, text, optional
-- takes: since, time, default 1970-01-01
-- takes: until, time, default 2200-01-01
-- takes: limit, integer, default 1000
SELECT class, account, account_name, region, min(time) AS first_time, max(time) AS last_time,
  count(*) AS events, count(DISTINCT eventday) AS days
FROM events
WHERE (:account IS NULL OR account = :account)
  AND time >= :since AND time < :until
  AND eventday BETWEEN :since_day AND :until_day
GROUP BY class, account, account_name, region
ORDER BY class, account, region
LIMIT :limit
