-- question: Were instances started in regions that an account did not use before?
-- group: compute
-- technique: T1535 Unused/Unsupported Cloud Regions
-- means: Principals who started, or tried to start, instances in an account and region where
--   nobody else had changed anything before: where people who mine hide.
-- limits: Unused is what the lake knows: a short history makes every region look unused, see
--   earliest_event. Reads everything before --until.
-- takes: account, text, optional
-- takes: since, time, default 1970-01-01
-- takes: until, time, default 2200-01-01
-- takes: limit, integer, default 1000
WITH calls AS (
  SELECT time, account, region, operation, activity, status, src_ip, src_domain, request,
    coalesce(session_issuer, actor_arn, actor_id) AS principal
  FROM events
  WHERE class = 'api_activity'
    AND (:account IS NULL OR account = :account)
    AND time < :until AND eventday <= :until_day
),
starts AS (
  SELECT account, region, principal, min(time) AS first_start, max(time) AS last_start,
    count(*) AS calls, count(*) FILTER (WHERE status = 'Failure') AS failures,
    array_join(array_sort(array_agg(DISTINCT json_extract_scalar(request, '$.instanceType'))), ', ')
      AS instance_types,
    array_join(array_sort(array_agg(DISTINCT coalesce(src_ip, src_domain))), ', ') AS addresses
  FROM calls
  WHERE operation = 'RunInstances'
  GROUP BY account, region, principal
),
changes AS (
  SELECT account, region, principal, min(time) AS first_change
  FROM calls
  WHERE activity IN ('Create', 'Update', 'Delete') AND status = 'Success'
  GROUP BY account, region, principal
),
known AS (SELECT account, min(time) AS earliest_event FROM calls GROUP BY account),
used_before AS (
  SELECT starts.account, starts.region, starts.principal
  FROM starts JOIN changes ON changes.account = starts.account AND changes.region = starts.region
  WHERE changes.principal <> starts.principal AND changes.first_change < starts.first_start
  GROUP BY starts.account, starts.region, starts.principal
)
SELECT starts.first_start, starts.last_start, starts.account, starts.region, starts.principal,
  starts.calls, starts.failures, starts.instance_types, starts.addresses, known.earliest_event
FROM starts
JOIN known ON known.account = starts.account
LEFT JOIN used_before ON used_before.account = starts.account AND used_before.region = starts.region
  AND used_before.principal = starts.principal
WHERE used_before.account IS NULL AND starts.last_start >= :since
ORDER BY starts.first_start, starts.account, starts.region, starts.principal
LIMIT :limit
