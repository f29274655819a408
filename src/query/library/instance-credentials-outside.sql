-- question: Were credentials of an instance's role used from somewhere else?
-- group: keys and principals
-- technique: T1552.005 Unsecured Credentials: Cloud Instance Metadata API
-- means: Sessions whose name is an instance's id, with an address beside the one that the
--   session was first used from. Credentials of an instance belong to that instance: another
--   address is theft, or a change of its way out.
-- limits: The first address is taken for the instance's own: theft from the very first call on
--   does not show. An instance with several ways out (an Elastic IP, a NAT gateway, VPC
--   endpoints) has several addresses.
-- takes: instance, text, optional
-- takes: since, time, default 1970-01-01
-- takes: until, time, default 2200-01-01
-- takes: limit, integer, default 1000
WITH calls AS (
  SELECT actor_arn, split_part(actor_arn, '/', 3) AS instance, account, src_ip, access_key, time,
    status, user_agent, operation
  FROM events
  WHERE actor_type = 'AssumedRole' AND src_ip IS NOT NULL
    AND class IN ('api_activity', 'account_change', 'authentication')
    AND regexp_like(split_part(actor_arn, '/', 3), '^i-[0-9a-f]{8,17}$')
    AND (:instance IS NULL OR split_part(actor_arn, '/', 3) = :instance)
    AND time < :until AND eventday <= :until_day
),
places AS (
  SELECT min(actor_arn) AS actor_arn, instance, account, src_ip, min(time) AS first_time,
    max(time) AS last_time,
    count(*) AS calls, count(*) FILTER (WHERE status = 'Failure') AS failures,
    array_join(array_sort(array_agg(DISTINCT access_key)), ', ') AS keys,
    array_join(array_sort(array_agg(DISTINCT operation)), ', ') AS operations,
    min(user_agent) AS a_user_agent
  FROM calls
  GROUP BY instance, account, src_ip
),
ranked AS (
  SELECT *,
    first_value(src_ip) OVER (PARTITION BY account, instance ORDER BY first_time, src_ip)
      AS own_address,
    row_number() OVER (PARTITION BY account, instance ORDER BY first_time, src_ip) AS place
  FROM places
)
SELECT first_time, last_time, account, instance, actor_arn, own_address, src_ip, calls, failures,
  keys, operations, a_user_agent
FROM ranked
WHERE place > 1 AND last_time >= :since
ORDER BY first_time, instance, src_ip, account
LIMIT :limit
