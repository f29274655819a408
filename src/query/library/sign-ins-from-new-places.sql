-- question: Who signed in from an address that they had not signed in from before?
-- group: sign-ins
-- technique: T1078.004 Valid Accounts: Cloud Accounts
-- means: The first sign-in of each person from each address after their very first one.
-- limits: What the lake knows of a person begins with the first event that was loaded. People at
--   home and on the move change addresses; look for other countries and user agents. Reads
--   everything before --until.
-- takes: account, text, optional
-- takes: since, time, default 1970-01-01
-- takes: until, time, default 2200-01-01
-- takes: limit, integer, default 1000
WITH places AS (
  SELECT coalesce(actor_arn, actor_name, actor_id) AS who, src_ip, min(account) AS account,
    min(time) AS first_time, max(time) AS last_time, count(*) AS sign_ins,
    min(user_agent) AS a_user_agent
  FROM events
  WHERE class = 'authentication' AND status = 'Success' AND src_ip IS NOT NULL
    AND operation IN ('ConsoleLogin', 'UserAuthentication', 'ExternalIdPDirectoryLogin')
    AND (:account IS NULL OR account = :account)
    AND time < :until AND eventday <= :until_day
  GROUP BY coalesce(actor_arn, actor_name, actor_id), src_ip
),
ranked AS (
  SELECT *, min(first_time) OVER (PARTITION BY who) AS who_first_time,
    row_number() OVER (PARTITION BY who ORDER BY first_time, src_ip) AS place
  FROM places
)
SELECT first_time, last_time, account, who, src_ip, place, who_first_time, sign_ins, a_user_agent
FROM ranked
WHERE place > 1 AND first_time >= :since
ORDER BY first_time, who, src_ip
LIMIT :limit
